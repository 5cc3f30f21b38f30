"""Print what happened in a session as a person reads it, or in all (events.subscribe, events.read, session.stderr).

With --stderr, what the session's children wrote there; N and LAST then count bytes and lines.
"""

from collections.abc import Callable

from ...protocol.errors import InvalidParams, TurnNotFound
from ..arguments import Parser, count
from ..follow import Ended, Follower, Happened, Interrupted
from ..history import after_last, prompts
from ..invocation import Invocation, Record
from ..render import event_line
from ..status import INTERRUPTED, OK, of_end
from ..transcript import ENDS, Transcript


def arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("session", metavar="S", nargs="?", help="a session; all of them and the daemon if left out")
    add("-f", "--follow", action="store_true", help="go on with what happens from now on")
    add("--after", metavar="N", type=count, help="begin behind this event")
    add("-n", metavar="LAST", type=count, help="begin with the last turns, this many")
    add("--turn", metavar="T", help="this turn only")
    add("--events", action="store_true", help="each event as a line")
    add("--stderr", action="store_true", help="what its children wrote to stderr instead")


def run(invocation: Invocation) -> int:
    args = invocation.args
    if args.stderr:
        return _stderr(invocation)
    turn = invocation.call("turn.get", turn=args.turn)["turn"] if args.turn else None
    known = args.session or (turn and turn["session"])
    session = invocation.call("session.get", session=known)["session"] if known else None
    if turn and session and turn["session"] != session["id"]:
        raise TurnNotFound(f"turn {turn['id']} is not of session {session['id']}", turn=turn["id"])
    after = args.after or 0
    if args.n is not None:
        after = after_last(invocation, session, args.n)
    feed = {"session": session["id"]} if session else {"all": True}
    invocation.call("events.subscribe", **feed, after=after, follow=args.follow)
    return _show(invocation, turn and turn["id"], _shower(invocation, session, after))


def _stderr(invocation: Invocation) -> int:
    from ..stderr import show

    args = invocation.args
    if args.session is None or args.turn or args.events:
        raise InvalidParams("--stderr is of a session: name one, and neither --turn nor --events")
    return show(invocation, invocation.call("session.get", session=args.session)["session"])


def _shower(invocation: Invocation, session: Record | None, after: int) -> Callable[[Record], None]:
    """What shows an event: as JSON, as a line, or as a part of a transcript."""
    writer = invocation.writer
    if writer.json:
        return writer.record
    if invocation.args.events or session is None:
        return lambda event: writer.say(event_line(event, of_all=session is None))
    transcript = Transcript()
    if after or invocation.args.turn:
        transcript.prompts = prompts(invocation, session["id"])

    def show(event: Record) -> None:
        for piece in transcript.feed(event):
            writer.piece(piece, notes_in_line=True)

    return show


def _show(invocation: Invocation, turn: str | None, show: Callable[[Record], None]) -> int:
    with Follower(invocation.daemon, invocation.writer.flush) as follower:
        for happening in follower:
            match happening:
                case Happened(event) if turn in (None, event["turn"]):
                    show(event)
                    if turn and event["kind"] in ENDS:
                        break
                case Ended(reason, message, after):
                    return _ended(invocation, reason, message, after)
                case Interrupted():
                    return INTERRUPTED
                case _:
                    pass
    return OK


def _ended(invocation: Invocation, reason: str, message: str, after: int) -> int:
    invocation.writer.end_line()
    if reason != "complete":
        invocation.writer.warn(f"roost: the events ended ({message or reason}); go on with --after {after}")
    return of_end(reason)
