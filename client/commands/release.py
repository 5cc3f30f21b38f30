"""Let the queue of a session on hold go on (session.release)."""

from ..arguments import Parser, add_sessions
from ..invocation import Invocation
from ..sessions import change


def arguments(parser: Parser) -> None:
    add_sessions(parser)


def run(invocation: Invocation) -> int:
    return change(invocation, "session.release", "see it with `roost attach {known}`")
