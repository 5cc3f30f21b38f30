"""The stop of a live session: by a user, by unloading, by the daemon's own stop."""

import logging
from collections.abc import Callable

import trio

from ...protocol.errors import OutcomeUnknown
from ...protocol.model import DAEMON, Author, SessionState
from ..core.states import LifeEvent, SessionEvent
from ..store import Tx, queue, sessions, turns
from .child import SessionChild
from .shared import Shared
from .state import EngineState

log = logging.getLogger(__name__)

_STOPPABLE = (SessionState.ready, SessionState.busy, SessionState.waiting)


class Stop:
    """Of one live session.

    Args:
        step: takes a step of the session's life.

    Attributes:
        reason: why it is to end; None: no client has asked for it.
        preparing: cancelled when the start that is being prepared is not wanted any more.
    """

    def __init__(
        self,
        shared: Shared,
        session_id: str,
        child: SessionChild,
        state: EngineState,
        step: Callable[[LifeEvent], None],
    ) -> None:
        self.reason: str | None = None
        self.preparing = trio.CancelScope()
        self._shared = shared
        self._session = session_id
        self._child = child
        self._state = state
        self._step = step

    def _begin(self, reason: str) -> None:
        self.reason = reason
        self._step(LifeEvent.stop)

    def interrupt(self, reason: str) -> None:
        """The daemon stops: begin no turn any more, and end the turn that runs."""
        self._begin(reason)
        self.preparing.cancel()
        self._child.running.interrupt(reason)

    async def at_once(self, author: Author) -> None:
        """End the child without asking it: no job, for a child that hangs must not keep this waiting."""
        running = await self._announce("user", author)
        self._begin("user")
        self.preparing.cancel()
        self._state.dirty = False  # the user who forces the stop gives the state up
        if running is not None:
            self._child.running.cancel(running, "user")
        self._child.kill()
        await self._child.end()

    async def orderly(self, reason: str, author: Author) -> None:
        """Cancel what runs, save the state, end the child. A state that cannot be saved is said, and lost."""
        if self.reason is not None:
            return
        await self._announce(reason, author)
        self._begin(reason)
        running = self._child.running
        try:
            if running.turn is not None:
                running.turn.cancel("user")
                await running.wait_ended()
            if self._state.dirty:
                await self._state.save_or_say()
        finally:
            await self._child.end()

    async def unload(self, reason: str) -> bool:
        """Stop, if nothing runs and the state is saved first. False: not now."""
        record, records = self._shared.records.by_id(self._session), self._shared.records
        waiting = record is not None and record.queued and self._session in records.runnable
        if self.reason is not None or self._child.running.turn is not None or waiting:
            return False
        if self._state.dirty:
            await self._state.save()
        await self.orderly(reason, DAEMON)
        return True

    async def wind_up(self) -> bool:
        """The daemon stops: the turn that runs ends, and the state is saved. Whether there was a state to save."""
        changed = self._state.dirty
        await self._child.running.wait_ended()
        if self._state.dirty:
            await self._state.save()
        return changed

    async def _announce(self, reason: str, author: Author) -> str | None:
        """The turn that runs, and is to be cancelled; it may be just being claimed."""

        def announce(tx: Tx) -> str | None:
            if self._child.resident and tx.session(self._session).state in _STOPPABLE:
                sessions.change(tx, self._session, SessionEvent.stop, reason=reason, author=author)
            if running := tx.session(self._session).turn:
                turns.request_cancel(tx, running, reason="user", author=author)
            if reason == "user":  # else the next turn would start the child again
                queue.hold(tx, tx.session(self._session), "stopped", author=author)
            return running

        try:
            return await self._shared.store.write(announce)
        except OutcomeUnknown as exc:  # it is wanted all the same
            log.warning("session %s: that it stops may not be on disk: %s", self._session, exc)
            running = self._child.running.turn
            return running.turn.id if running else None
