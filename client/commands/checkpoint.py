"""Save the engine's state under a name (session.checkpoint), or list what was saved (session.checkpoints)."""

from ..arguments import Parser
from ..invocation import Invocation, now
from ..render import checkpoints
from ..sessions import PATIENCE_SECONDS
from ..status import OK


def arguments(parser: Parser) -> None:
    parser.add_argument("session", metavar="S", help="id, start of an id, or name")
    parser.add_argument("name", metavar="NAME", nargs="?", help="`latest` if left out")
    parser.add_argument("--list", action="store_true", help="list what was saved")


def run(invocation: Invocation) -> int:
    args, writer = invocation.args, invocation.writer
    if args.list:
        saved = invocation.call("session.checkpoints", session=args.session)["checkpoints"]
    else:
        new = {"session": args.session, "name": args.name}
        saved = [invocation.call("session.checkpoint", patience=PATIENCE_SECONDS, **new)["checkpoint"]]
    if writer.json:
        for checkpoint in saved:
            writer.record(checkpoint)
    elif saved:
        writer.table(checkpoints(saved, now()))
    else:
        writer.advise(f"nothing was saved yet; `roost checkpoint {args.session}` saves its state")
    if not args.list:
        writer.advise(f"`roost state {args.session} --name {saved[0]['name']}` prints it")
    return OK
