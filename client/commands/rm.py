"""Delete a session and all that it holds (session.delete). There is no way back."""

from ..arguments import Parser, add_sessions
from ..invocation import Invocation, Record
from ..sessions import PATIENCE_SECONDS


def arguments(parser: Parser) -> None:
    add_sessions(parser)
    parser.add_argument("--force", action="store_true", help="also when a turn runs or waits")


def run(invocation: Invocation) -> int:
    args = invocation.args
    force = {"force": True} if args.force else {}
    deleted: list[Record] = []
    status = invocation.each(args.sessions, "session.delete", PATIENCE_SECONDS, deleted.append, **force)
    if deleted:
        invocation.writer.advise(f"{len(deleted)} deleted; `roost ls` lists the others")
    return status
