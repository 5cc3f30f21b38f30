"""Put an idle session away; nothing is deleted (session.archive)."""

from ..arguments import Parser, add_sessions
from ..invocation import Invocation
from ..sessions import change


def arguments(parser: Parser) -> None:
    add_sessions(parser)


def run(invocation: Invocation) -> int:
    return change(invocation, "session.archive", "`roost unarchive {known}` takes it back")
