"""Have a session's child running; a failed session is armed again (session.start)."""

from ..arguments import Parser, add_sessions
from ..invocation import Invocation
from ..sessions import change


def arguments(parser: Parser) -> None:
    add_sessions(parser)


def run(invocation: Invocation) -> int:
    return change(invocation, "session.start", "send it a prompt with `roost send {known} PROMPT`")
