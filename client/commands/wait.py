"""Wait for a turn's end (turn.wait), or until a session runs nothing and can run nothing (session.wait).

The exit status is the turn's, or that of the session's last turn; 8 if the session's queue is on hold or the
session has failed with prompts in it.
"""

from ..arguments import Parser, duration
from ..invocation import Invocation, Record
from ..parked import failed, failure, held, stays
from ..sessions import find
from ..status import REFUSED, of_last_turn


def arguments(parser: Parser) -> None:
    parser.add_argument("known", metavar="S|T", help="a session or a turn")
    parser.add_argument("--timeout", metavar="TIME", type=duration, help="give up after this long, with status 3")


def run(invocation: Invocation) -> int:
    known: str = invocation.args.known
    session = find(invocation, known)
    if session is None:
        ended = invocation.call("turn.wait", patience=None, turn=known, timeout=invocation.args.timeout)
        return _show(invocation, ended["turn"])
    found = _settled(invocation, session)
    if found["hold"] and found["queued"]:
        why = held(found["hold"]["reason"], known)
        invocation.writer.warn(f"roost: {found['queued']} queued, and it is {why} (held)")
        return REFUSED
    while (why := failure(found)) and found["queued"]:
        if any(stays(invocation, turn["id"]) for turn in _first(invocation, session)):
            invocation.writer.warn(f"roost: {found['queued']} queued, and it has {failed(why, known)} (session_failed)")
            return REFUSED
        found = _settled(invocation, session)
    last = found["last_turn"]
    return _show(invocation, invocation.call("turn.get", turn=last)["turn"] if last else None)


def _settled(invocation: Invocation, session: Record) -> Record:
    """The session once nothing of it runs and nothing can run."""
    timeout = invocation.args.timeout
    result = invocation.call("session.wait", patience=None, session=session["id"], timeout=timeout)
    found: Record = result["session"]
    return found


def _first(invocation: Invocation, session: Record) -> list[Record]:
    """The turn that is first in its queue, if there is one."""
    turns: list[Record] = invocation.call("turn.list", session=session["id"], state="queued", limit=1)["turns"]
    return turns


def _show(invocation: Invocation, turn: Record | None) -> int:
    if turn:
        if invocation.args.json:
            invocation.writer.record(turn)
        elif not invocation.args.quiet:
            invocation.writer.say(f"{turn['id']} {turn['state']}")
    return of_last_turn(turn)
