"""Wait for a turn's end (turn.wait), or until a session runs nothing and can run nothing (session.wait).

The exit status is the turn's, or that of the session's last turn; 8 if the session's queue is on hold.
"""

from ..arguments import Parser, duration
from ..invocation import Invocation, Record
from ..render import clean
from ..sessions import find
from ..status import REFUSED, of_last_turn


def arguments(parser: Parser) -> None:
    parser.add_argument("known", metavar="S|T", help="a session or a turn")
    parser.add_argument("--timeout", metavar="TIME", type=duration, help="give up after this long, with status 3")


def run(invocation: Invocation) -> int:
    known, timeout = invocation.args.known, invocation.args.timeout
    session = find(invocation, known)
    if session is None:
        return _show(invocation, invocation.call("turn.wait", patience=None, turn=known, timeout=timeout)["turn"])
    found = invocation.call("session.wait", patience=None, session=session["id"], timeout=timeout)["session"]
    if found["hold"] and found["queued"]:
        invocation.writer.warn(
            f"roost: {found['queued']} queued on hold ({clean(found['hold']['reason'])}); "
            f"`roost release {known}` lets them go on (held)"
        )
        return REFUSED
    last = found["last_turn"]
    return _show(invocation, invocation.call("turn.get", turn=last)["turn"] if last else None)


def _show(invocation: Invocation, turn: Record | None) -> int:
    if turn:
        if invocation.args.json:
            invocation.writer.record(turn)
        elif not invocation.args.quiet:
            invocation.writer.say(f"{turn['id']} {turn['state']}")
    return of_last_turn(turn)
