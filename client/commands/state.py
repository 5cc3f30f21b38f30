"""Print a copy of the engine's state as JSON (session.state)."""

from ..arguments import Parser
from ..invocation import Invocation, now
from ..render import age, json_text
from ..sessions import PATIENCE_SECONDS
from ..status import OK


def arguments(parser: Parser) -> None:
    parser.add_argument("session", metavar="S", help="id, start of an id, or name")
    parser.add_argument("--name", metavar="NAME", help="of a checkpoint; the latest state if left out")


def run(invocation: Invocation) -> int:
    args, writer = invocation.args, invocation.writer
    found = invocation.call("session.state", patience=PATIENCE_SECONDS, session=args.session, name=args.name)
    if writer.json:
        writer.record(found)
        return OK
    writer.say(json_text(found["state"], indent=2))
    if found["source"] == "none":
        writer.advise("it has no state yet")
    else:
        at = "" if found["at"] is None else f", {age(now() - found['at'])} old"
        writer.advise(f"from the {found['source']}, through {found['through_turn'] or 'no turn'}{at}")
    return OK
