"""Show a session and its last turns (session.get, turn.list), or a turn and its items (turn.get, item.read)."""

from itertools import islice

from ..arguments import Parser, count
from ..content import content, turn_items
from ..invocation import Invocation, Record, now
from ..render import clean, fields, session_fields, turn_fields, turns
from ..sessions import find
from ..status import OK


def arguments(parser: Parser) -> None:
    parser.add_argument("known", metavar="S|T", help="a session or a turn")
    parser.add_argument("-n", metavar="TURNS", type=count, default=10, help="this many of its last turns (10)")


def run(invocation: Invocation) -> int:
    known: str = invocation.args.known
    session = find(invocation, known)
    return _turn(invocation, known) if session is None else _session(invocation, session)


def _session(invocation: Invocation, session: Record) -> int:
    last: list[Record] = []
    if limit := min(invocation.args.n, 1000):
        newest = invocation.pages("turn.list", "turns", session=session["id"], newest=True, limit=limit)
        last = list(islice(newest, limit))
    writer = invocation.writer
    if writer.json:
        writer.record({**session, "last_turns": last})
        return OK
    writer.write(fields(session_fields(session, now())))
    if last:
        writer.say("")
        writer.table(turns(last, now()))
    return OK


def _turn(invocation: Invocation, known: str) -> int:
    turn = invocation.call("turn.get", turn=known)["turn"]
    items = turn_items(invocation, turn["id"])
    writer = invocation.writer
    if writer.json:
        writer.record({**turn, "items": items})
        return OK
    writer.write(fields(turn_fields(turn)))
    for item in items:
        state = "" if item["state"] == "completed" else f" ({item['state']})"
        writer.write(f"\n[{item['kind']}{state}] {clean(item['title'])}".rstrip() + "\n")
        writer.write(content(invocation, item))
    writer.end_line()
    return OK
