"""Empty the engine's state; the session and what happened in it stay (session.clear)."""

from ..arguments import Parser, add_sessions
from ..invocation import Invocation
from ..sessions import change


def arguments(parser: Parser) -> None:
    add_sessions(parser)


def run(invocation: Invocation) -> int:
    return change(invocation, "session.clear", "the next prompt finds it empty: `roost send {known} PROMPT`")
