"""Show one turn from its sending to its end; the result is the exit status."""

import os
from typing import Any

from ..protocol.errors import ConnectionLost
from .content import final_message
from .follow import Ended, Follower, Happened, Happening, Interrupted, KeyboardClosed, Typed
from .invocation import Invocation
from .parked import failed, failure, failure_after, held, stays
from .render import clean
from .status import INTERRUPTED, REFUSED, of_end, of_turn
from .transcript import ENDS, Transcript

Record = dict[str, Any]


def stream(invocation: Invocation, session: Record, **prompt: Any) -> int | None:
    """Send ``prompt``, params of turn.send, to the session of this record, and follow its turn to the end.

    From the sending on, Ctrl-C once cancels the turn and shows its end, twice leaves it running; so does Ctrl-D where
    stdin is a terminal, and then the result is None.
    """
    left = "the prompt"
    keyboard = 0 if os.isatty(0) else None
    with Follower(invocation.daemon, invocation.writer.flush, keyboard=keyboard) as follower:
        try:
            sent = invocation.call("turn.send", session=session["id"], **prompt)
            turn = sent["turn"]
            left = turn["id"]
            if sent["held"]:
                return _held(invocation, turn, sent["held"])
            invocation.call("events.subscribe", session=session["id"], after=session["seq"])
            shown = _Shown(invocation, turn, session)
            for happening in follower:
                if isinstance(happening, KeyboardClosed):
                    _leave(invocation, left, session)
                    return None
                if (status := shown.on(happening)) is not None:
                    return status
        except KeyboardInterrupt:
            _leave(invocation, left, session)
        except ConnectionLost as exc:
            text = f"{exc.message}: {left} of {session['id']}; `roost show {session['id']}`"
            raise ConnectionLost(text, **exc.data, session=session["id"]) from exc
    return INTERRUPTED


def _leave(invocation: Invocation, left: str, session: Record) -> None:
    invocation.writer.advise(f"left {left}, which goes on; see it with `roost attach {session['id']}`")


class _Shown:
    """The turn as the person sees it."""

    def __init__(self, invocation: Invocation, turn: Record, session: Record) -> None:
        self._invocation = invocation
        self._writer = invocation.writer
        self._turn = turn
        self._transcript = Transcript(turn["id"])
        self._transcript.prompts[turn["id"]] = turn["input"]
        self._waiting = False  # holds of before, or of what is behind it, are none of this turn's
        self._failure = failure(session)

    def on(self, happening: Happening) -> int | None:
        """Show what happened; the exit status once there is one."""
        match happening:
            case Happened(event):
                return self._event(event)
            case Ended(reason, message, _):
                return self._ended(reason, message)
            case Interrupted():
                self._cancel()
            case Typed():
                self._writer.advise(f"that is not sent; `roost attach {self._turn['session']}` takes prompts")
            case KeyboardClosed():
                pass  # that is for who shows it
        return None

    def _event(self, event: Record) -> int | None:
        self._failure = failure_after(event, self._failure)
        if event["kind"] == "session.held" and self._waiting:
            return _held(self._invocation, self._turn, event["data"]["reason"])
        status = self._own(event) if event["turn"] == self._turn["id"] else None
        if self._failure and self._waiting and stays(self._invocation, self._turn["id"]):
            return _failed(self._invocation, self._turn, self._failure)
        return status

    def _own(self, event: Record) -> int | None:
        if event["kind"] in ("turn.queued", "turn.started", *ENDS):
            self._waiting = event["kind"] == "turn.queued"
        if self._writer.json:
            self._writer.record(event)
        elif not self._writer.quiet:
            for piece in self._transcript.feed(event):
                self._writer.piece(piece)
        return self._end(event) if event["kind"] in ENDS else None

    def _end(self, event: Record) -> int:
        if self._writer.quiet and not self._writer.json:
            self._writer.write(final_message(self._invocation, self._turn["id"]))
        self._writer.end_line()
        return of_turn(event["kind"].partition(".")[2], event["data"]["reason"])

    def _ended(self, reason: str, message: str) -> int:
        turn = self._turn["id"]
        why = {
            "shutting_down": f"the daemon stops; {turn} waits and runs after its next start",
            "session_deleted": f"the session was deleted, and {turn} with it",
        }.get(reason, f"the events of {turn} ended ({clean(message or reason)}); see `roost show {turn}`")
        self._writer.warn(f"roost: {why}")
        return of_end(reason)

    def _cancel(self) -> None:
        self._writer.advise("cancelling; Ctrl-C again leaves it running")
        self._invocation.call("turn.cancel", turn=self._turn["id"])


def _parked(invocation: Invocation, turn: Record, obstacle: str, name: str) -> int:
    out = f"`roost queue {turn['session']} rm {turn['id']}` takes it out"
    invocation.writer.warn(f"roost: {turn['id']} waits: its session {obstacle}; {out} ({name})")
    return REFUSED


def _held(invocation: Invocation, turn: Record, reason: str) -> int:
    return _parked(invocation, turn, f"is {held(reason, turn['session'])}", "held")


def _failed(invocation: Invocation, turn: Record, why: str) -> int:
    return _parked(invocation, turn, f"has {failed(why, turn['session'])}", "session_failed")
