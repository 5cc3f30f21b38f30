"""The child of a live session: prepared, recorded as its engine reports it, and ended."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from ...protocol.errors import RequestCancelled, RoostError
from ...protocol.events import (
    SESSION_LIMITS_UNENFORCED,
    SESSION_PROCESSES_LEFT,
    SessionLimitsUnenforced,
    SessionProcessesLeft,
)
from ...protocol.model import Author, Limits, Session
from ..core.said import Change
from ..engines.engine import STUCK, Engine, Launch
from ..process.trees import Root
from ..store import Tx, children
from .running import Running
from .shared import Shared
from .stuck import Stuck

log = logging.getLogger(__name__)

T = TypeVar("T")


class SessionChild:
    """Of one live session. Its engine reports to it.

    Attributes:
        engine: speaks with the child; None before it is about to be started. started_by: the author who asked for it.
    """

    def __init__(self, shared: Shared, session_id: str, running: Running) -> None:
        self.engine: Engine | None = None
        self.started_by: Author | None = None
        self.running = running
        self._shared = shared
        self._session = session_id
        self._limits = Limits()
        """Of the last child."""
        self._stuck = Stuck()

    @property
    def resident(self) -> bool:
        """There is a child between turns."""
        return self.engine is not None and self.engine.resident

    @property
    def saves(self) -> bool:
        """There is a state that can be saved."""
        return self.engine is not None and self.engine.saves

    @property
    def alive(self) -> bool:
        """It has not ended, or will be started."""
        return self.engine is not None and not self.engine.gone.is_set()

    async def launch(self) -> Launch:
        """The launch of the next child, with the settings and secrets of now."""
        record = self._record()
        launch = await self._shared.launches.prepared(record)
        return launch._replace(limits=partial(self._limits_of, launch), again=self.launch)

    def _limits_of(self, launch: Launch) -> Limits:
        self._limits = self._shared.launches.limits(self._record(), launch.engine)
        return self._limits

    def _record(self) -> Session:
        record = self._shared.records.by_id(self._session)
        assert record is not None, self._session
        return record

    def kill(self) -> None:
        if self.engine is not None:
            self.engine.kill()

    async def end(self) -> None:
        """Ask the child to end, then make it.

        Raises:
            ProcessesLeft, TimedOut: something of it does not end although it was killed.
        """
        if self.engine is not None:
            try:
                await self.engine.end()
            except STUCK as exc:
                await self.stuck(exc)
                raise

    async def unless_stuck(self, wait: Callable[[], Awaitable[T]]) -> T:
        """The result of ``wait``; see :meth:`Stuck.unless`."""
        return await self._stuck.unless(wait)

    @property
    def stuck_by(self) -> RoostError | None:
        """The processes that do not end although they were killed; None while all that was killed ends."""
        return self._stuck.by

    def free(self) -> None:
        """The processes that did not end have ended: the session may be waited for again."""
        self._stuck.free()

    # --- reports of the engine ---

    async def said(self, change: Change | None) -> None:
        if self.running.turn is not None:
            await self.running.turn.recorder.add(change)

    async def waiting(self, answer: Callable[[], Awaitable[T]]) -> T:
        turn = self.running.turn
        if turn is None:
            raise RequestCancelled("no turn runs: nothing is answered now", session=self._session)
        return await turn.waits.until(answer)

    async def spawned(self, root: Root) -> None:
        launches = self._shared.launches
        missing = launches.processes.unenforced(self._limits)

        def spawned(tx: Tx) -> None:
            children.keeps(tx, launches.keeper)
            children.spawned(tx, children.Child(root.owner, root.leaf, *root.child))
            if missing:
                data = SessionLimitsUnenforced(limits=missing, reason=launches.processes.cgroups.message)
                tx.emit(self._session, SESSION_LIMITS_UNENFORCED, data)

        await self._shared.store.write(spawned)

    async def stuck(self, error: RoostError) -> None:
        if not self._stuck.tell(
            error
        ):  # once is enough: the next look may find others, of a child that forks on and on
            return
        log.error("session %s: %s", self._session, error)
        left = SessionProcessesLeft(pids=error.data.get("pids", []))
        try:
            await self._shared.store.write(lambda tx: tx.emit(self._session, SESSION_PROCESSES_LEFT, left))
        except RoostError as exc:
            log.warning("session %s: that it has such processes is not on disk: %s", self._session, exc)

    async def ended_child(self, root: Root) -> None:
        try:
            await self._shared.store.write(lambda tx: children.ended(tx, root.owner, root.leaf, root.child.pid))
        except RoostError as exc:
            # The next daemon looks for it in vain: its start time proves that it is another one.
            log.warning(
                "session %s: that its child %d has ended is not on disk: %s", self._session, root.child.pid, exc
            )
