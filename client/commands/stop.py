"""Cancel what a session runs, save its state and end its child (session.stop). The session stays."""

from ...protocol.errors import InvalidParams
from ..arguments import Parser, add_sessions
from ..invocation import Invocation
from ..sessions import change

_LIVE = ("starting", "ready", "busy", "waiting", "stopping")


def arguments(parser: Parser) -> None:
    add_sessions(parser, nargs="*")
    parser.add_argument("--all", action="store_true", help="every session that has a child")
    parser.add_argument("--force", action="store_true", help="do not ask the turn that runs: end the child")


def run(invocation: Invocation) -> int:
    args = invocation.args
    if args.all == bool(args.sessions):
        raise InvalidParams("name the sessions to stop, or --all")
    names: list[str] = args.sessions
    if args.all:
        names = [s["id"] for s in invocation.pages("session.list", "sessions") if s["state"] in _LIVE]
    return change(
        invocation, "session.stop", "its next prompt starts it again: `roost send {known} PROMPT`", names,
        **({"force": True} if args.force else {}),
    )  # fmt: skip
