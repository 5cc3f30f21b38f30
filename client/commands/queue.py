"""List the prompts that wait in a session (turn.list), or change one (turn.edit, turn.move, turn.remove).

roost queue S                        list them in the order they will run
roost queue S edit T [PROMPT]        change a prompt, in $EDITOR if none is given
roost queue S move T --before T2     or --last
roost queue S rm T                   take it out
"""

import sys

from ...protocol.errors import InvalidParams, TurnNotFound
from ..arguments import Parser, add_prompt
from ..invocation import Invocation, Record, now
from ..parked import failed, failure, held
from ..prompt import edit, read
from ..render import turns
from ..status import OK


def arguments(parser: Parser) -> None:
    parser.add_argument("session", metavar="S", help="id, start of an id, or name")
    parser.add_argument("action", nargs="?", choices=["edit", "move", "rm"], help="what to do; list if left out")
    parser.add_argument("turn", metavar="T", nargs="?", help="a turn that waits")
    add_prompt(parser)
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--before", metavar="T2", help="move it before this turn")
    place.add_argument("--last", action="store_true", help="move it to the end")


def run(invocation: Invocation) -> int:
    args = invocation.args
    _check(invocation)
    session = invocation.call("session.get", session=args.session)["session"]
    if args.action is None:
        return _list(invocation, session)
    turn = invocation.call("turn.get", turn=args.turn)["turn"]
    if turn["session"] != session["id"]:
        text = f"{turn['id']} is not a turn of {args.session} but of {turn['session']}"
        raise TurnNotFound(text, turn=turn["id"], session=session["id"])
    if args.action == "edit":
        changed = invocation.call("turn.edit", turn=turn["id"], input=_prompt(invocation, turn))
    elif args.action == "move":
        changed = invocation.daemon.call("turn.move", {"turn": turn["id"], "before": args.before})
    else:
        changed = invocation.call("turn.remove", turn=turn["id"])
    if args.json:
        invocation.writer.record(changed["turn"])
    else:
        invocation.writer.advise(f"done; `roost queue {args.session}` lists what waits now")
    return OK


def _check(invocation: Invocation) -> None:
    args = invocation.args
    if args.action and not args.turn:
        raise InvalidParams(f"name the turn: roost queue {args.session} {args.action} T")
    if (args.action == "move") != bool(args.before or args.last):
        raise InvalidParams("move takes --before T2 or --last, and nothing else does")
    if args.action != "edit" and (args.prompt or args.file):
        raise InvalidParams("a prompt is for edit; `roost send` queues a new one")


def _prompt(invocation: Invocation, turn: Record) -> str:
    args = invocation.args
    if args.prompt or args.file or not sys.stdin.isatty():
        return read(args.prompt, args.file, invocation.environ)
    return edit(turn["input"], invocation.environ)


def _list(invocation: Invocation, session: Record) -> int:
    waiting = list(invocation.pages("turn.list", "turns", session=session["id"], state="queued"))
    writer = invocation.writer
    if writer.json or writer.quiet:
        for turn in waiting:
            writer.record(turn) if writer.json else writer.say(turn["id"])
        return OK
    if waiting:
        writer.table(turns(waiting, now()))
    known = session["name"] or session["id"]
    if waiting and (why := failure(session)):
        writer.advise(failed(why, known))
    if session["hold"]:
        writer.advise(held(session["hold"]["reason"], known))
    elif not waiting:
        writer.advise("nothing waits")
    return OK
