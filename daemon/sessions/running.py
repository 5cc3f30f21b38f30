"""The turns of one live session: at most one runs or waits at a time."""

from collections.abc import Callable

from ...protocol.model import TurnState
from ..engines.engine import Engine
from ..waiting.errands import Starter
from .shared import Shared
from .turn import RunningTurn, claimed


class Running:
    """Begins turns, and hands on what ends them early.

    Args:
        ended: called when a turn has ended, with the turn.

    Attributes:
        turn: the turn that runs or waits now. cut_off: the turn that the daemon's stop interrupted.
        start: starts a task of the session; there once its child is ready.
    """

    def __init__(self, shared: Shared, session_id: str, ended: Callable[[RunningTurn], None]) -> None:
        self.turn: RunningTurn | None = None
        self.cut_off: str | None = None
        self.start: Starter
        self._shared = shared
        self._session = session_id
        self._ended = ended
        self._cancels: dict[str, str] = {}
        self._interrupted: str | None = None

    async def begin(self, engine: Engine) -> RunningTurn | None:
        """Claim the first queued turn and have it run; None if there is none that may."""
        turn = await claimed(self._shared.store, self._session)
        if turn is None:
            return None
        self._shared.places.begun(self._session)
        settings = self._shared.settings
        limit, grace = settings.limits.max_output, settings.sessions.cancel_grace
        running = self.turn = RunningTurn(
            turn, engine, self._shared.store, self._shared.places, max_output=limit, grace=grace
        )
        if reason := self._cancels.pop(turn.id, None):
            running.cancel(reason)
        if self._interrupted:  # the daemon's stop has begun meanwhile
            running.interrupt(self._interrupted)
        self.start(lambda: self._run(running))
        return running

    async def _run(self, running: RunningTurn) -> None:
        try:
            await running.run()
            if running.turn.state is TurnState.interrupted:
                self.cut_off = running.turn.id
            self._cancels.clear()
            self._ended(running)
            self.turn = None
        finally:
            ended = running.ended
            ok = ended is not None and (ended.problem is None or ended.problem.name == "turn_failed")
            self._shared.places.ended(self._session, ok=ok)

    def cancel(self, turn_id: str, reason: str) -> None:
        """The cancel of ``turn_id`` is on disk: carry it out, also when the turn is just being claimed."""
        if self.turn is not None and self.turn.turn.id == turn_id:
            self.turn.cancel(reason)
        else:
            self._cancels[turn_id] = reason

    def interrupt(self, reason: str) -> None:
        """The daemon stops: end the turn that runs."""
        self._interrupted = reason
        if self.turn is not None:
            self.turn.interrupt(reason)

    async def wait_ended(self) -> None:
        """Until the turn that runs now has ended."""
        if self.turn is not None:
            await self.turn.done.wait()

    def close(self) -> None:
        """The session's task is over. A turn that a bug has cut off is settled: no client may wait for it."""
        if self.turn is not None:
            self.turn.done.set()
