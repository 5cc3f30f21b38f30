"""See a session's last turns, follow it live and type prompts into it (events.subscribe, turn.send, turn.cancel).

Each line you type is a prompt. Ctrl-C cancels the turn that runs, twice leaves; Ctrl-D leaves. The session goes on.
From a pipe each line is a prompt too, and the command ends when the turns it sent have ended.
"""

import sys

from ...protocol.errors import ConnectionLost, RoostError
from ..arguments import Parser, count
from ..follow import Ended, Follower, Happened, Happening, Interrupted, KeyboardClosed, Typed
from ..history import after_last, prompts
from ..invocation import Invocation, Record
from ..parked import failed, failure, failure_after, held, stays
from ..status import INTERRUPTED, OK, REFUSED, of_end, of_error, of_turn
from ..transcript import ENDS, Transcript


def arguments(parser: Parser) -> None:
    parser.add_argument("session", metavar="S", help="id, start of an id, or name")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("-n", metavar="TURNS", type=count, default=20, help="begin with the last turns, this many (20)")
    begin.add_argument("--after", metavar="N", type=count, help="begin behind this event")


def run(invocation: Invocation) -> int:
    args = invocation.args
    session = invocation.call("session.get", session=args.session)["session"]
    after = after_last(invocation, session, args.n) if args.after is None else args.after
    invocation.call("events.subscribe", session=session["id"], after=after)
    attached = _Attached(invocation, session, after)
    with Follower(invocation.daemon, invocation.writer.flush, keyboard=0) as follower:
        try:
            for happening in follower:
                status = attached.on(happening, follower)
                if status is not None:
                    return status
        except KeyboardInterrupt:
            attached.leave()
    return INTERRUPTED


class _Attached:
    """A person, or a pipe, at a session."""

    def __init__(self, invocation: Invocation, session: Record, after: int) -> None:
        self._invocation = invocation
        self._writer = invocation.writer
        self._session: str = session["id"]
        self._known: str = session["name"] or session["id"]
        self._transcript = Transcript()
        self._transcript.prompts = prompts(invocation, self._session)
        self._running: str | None = session["turn"]
        self._seen, self._past = after, int(session["seq"])
        self._sent: set[str] = set()  # turns of ours that have not ended
        self._waiting: set[str] = set()  # those of them whose queueing was seen, and no start yet
        self._failure = failure(session)
        self._closing = False
        self._status = OK

    def on(self, happening: Happening, follower: Follower) -> int | None:
        """Act on what happened; the exit status once it is time to leave."""
        match happening:
            case Happened(event):
                if self._follow(event):
                    follower.forget_interrupt()  # before the end is seen, so that a Ctrl-C after it is a first one
                self._show(event)
            case Typed(line):
                follower.forget_interrupt()
                self._send(line)
            case KeyboardClosed() if sys.stdin.isatty():
                self.leave()
                return OK
            case KeyboardClosed():
                self._closing = True
            case Interrupted():
                self._cancel()
            case Ended(reason, message, after):
                self._writer.warn(f"roost: the events ended ({message or reason}); go on with --after {after}")
                return of_end(reason)
        done = self._closing and not self._sent and self._seen >= self._past
        return self._status if done else None

    def leave(self) -> None:
        self._writer.advise(f"left; the session goes on: `roost attach {self._known}`")

    def _show(self, event: Record) -> None:
        if self._writer.json:
            self._writer.record(event)
        else:
            for piece in self._transcript.feed(event):
                self._writer.piece(piece, notes_in_line=True)

    def _follow(self, event: Record) -> bool:
        """Keep track of what runs and of our own turns; True if what ran has ended."""
        self._seen = event["seq"]
        self._failure = failure_after(event, self._failure)
        kind, turn = event["kind"], event["turn"]
        if kind == "turn.queued" and turn in self._sent:
            self._waiting.add(turn)
        elif kind == "turn.started":
            self._running = turn
            self._waiting.discard(turn)
        elif kind == "session.held" and self._waiting:  # holds of before are none of theirs
            self._park()
        elif kind in ENDS:
            self._waiting.discard(turn)
            if turn in self._sent:
                self._sent.discard(turn)
                self._status = of_turn(kind.partition(".")[2], event["data"]["reason"])
        if self._failure and self._waiting and stays(self._invocation, next(iter(self._waiting))):
            self._writer.advise(failed(self._failure, self._known))
            self._park()
        if ended := kind in ENDS and turn == self._running:  # and not one that was cancelled while it waited
            self._running = None
        return ended

    def _park(self) -> None:
        """Those that wait are not waited for."""
        self._sent -= self._waiting
        self._waiting.clear()
        self._status = REFUSED

    def _send(self, line: str) -> None:
        try:
            sent = self._invocation.call("turn.send", session=self._session, input=line)
        except ConnectionLost:
            raise
        except RoostError as exc:
            self._writer.error(exc)
            self._status = of_error(exc.wire_name, exc.code)
            return
        if sent["held"]:
            self._writer.advise(held(sent["held"], self._known))
            self._status = REFUSED
        else:
            self._sent.add(sent["turn"]["id"])

    def _cancel(self) -> None:
        if self._running is None:
            self._writer.advise("nothing runs; Ctrl-C again or Ctrl-D leaves")
        else:
            self._writer.advise("cancelling; Ctrl-C again leaves")
            self._invocation.call("turn.cancel", turn=self._running)
