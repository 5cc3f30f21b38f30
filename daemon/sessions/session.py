"""A live session: one task, one nursery, one child. Jobs for it wait in a bounded mailbox, in order."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import trio

from ...protocol.errors import RoostError, WorkerExited, from_wire
from ...protocol.model import Problem, SessionState
from ..core.states import LIFE, Life, LifeEvent, SessionEvent
from ..engines.engine import Engine
from ..store import Tx, sessions
from ..waiting.awaited import Change
from ..waiting.errands import Starter
from ..waiting.mailbox import Mailbox
from .child import SessionChild
from .leftovers import outlasted
from .problem import problem_of
from .recorder import persist
from .running import Running
from .shared import Shared
from .state import EngineState
from .stop import Stop
from .turn import RunningTurn

T = TypeVar("T")


class LiveSession:
    """Owner of one session's child and running turn.

    Attributes:
        life: how far it is. served: it was serving once.
        failure: why it did not start, or why its child died.
        used_at: the time of its last use, on Trio's clock.
    """

    def __init__(self, shared: Shared, session_id: str) -> None:
        self.id = session_id
        self.life = Life.starting
        self.served = False
        self.failure: RoostError | None = None
        self.used_at = trio.current_time()
        self.running = Running(shared, session_id, self._turn_ended)
        self.child = SessionChild(shared, session_id, self.running)
        self.state = EngineState(shared, session_id, self.child)
        self.stop = Stop(shared, session_id, self.child, self.state, self._step)
        self._shared = shared
        self._changed = Change()
        self._mailbox = Mailbox(f"session {session_id}", self._terminated)

    def _terminated(self) -> RoostError:
        return self.failure or WorkerExited("the session's child has ended; try again to start it", session=self.id)

    @property
    def busy(self) -> bool:
        """A turn runs or waits, or the child starts."""
        return self.running.turn is not None or self.life is Life.starting

    @property
    def attended(self) -> bool:
        """Its child is there, and does the jobs of the session."""
        return self.served and self.child.alive

    # --- its life ---

    def _step(self, event: LifeEvent) -> None:
        if self.life is Life.over:
            return  # it ended while a forced stop of it was being written, which has no place in the mailbox
        self.life = LIFE.next(self.life, event)
        self._changed.tell()

    async def wait_started(self) -> None:
        """Until it serves, or is known not to."""
        while self.life is Life.starting or (self.life is Life.stopping and not self.served and self.failure is None):
            await self._changed.wait()

    async def wait_over(self) -> None:
        """Until its task has ended: then no known process of it lives."""
        while self.life is not Life.over:
            await self._changed.wait()

    # --- the door ---

    async def ask(
        self,
        job: Callable[[], Awaitable[T]],
        *,
        otherwise: T,
        within: float = float("inf"),
        first: bool = False,
    ) -> T:
        """Have ``job`` done by its task, after the jobs that were asked for before; leaving ends only the waiting.

        Args:
            otherwise: the result when the child is gone, before or meanwhile.
            within: seconds from when it has started. first: before all jobs that wait.

        Raises:
            RoostError: the job's own. TimedOut: not within that time; a job that has not begun by then is not done.
            ProcessesLeft: something of it was killed and does not end.
        """
        await self.child.unless_stuck(self.wait_started)
        if not self.attended:
            return otherwise
        asked = partial(self._mailbox.ask_first, job) if first else partial(self._mailbox.ask, job, within)
        try:
            return await self.child.unless_stuck(asked)
        except WorkerExited:
            return otherwise
        except RoostError:
            if self.attended:
                raise
            return otherwise

    # --- its task ---

    async def run(self) -> None:
        """From the spawn to the end of the child."""
        engine: Engine | None = None
        try:
            if engine := await self._prepared():
                await self._live(engine)
        except RoostError as exc:
            self.fail(exc)
        if self.failure is None and engine is not None and engine.problem is not None:
            self.fail(from_wire(engine.problem.to_wire()))
        await outlasted(lambda: self._shared.launches.processes.end_owner(self.id), self.child.stuck)
        wanted = self.failure is None or self.stop.reason is not None
        await self._gone(None if wanted or self.failure is None else problem_of(self.failure))

    async def _prepared(self) -> Engine | None:
        """Its engine, about to start a child; None if it is to stop already."""
        launch = None
        with self.stop.preparing:
            launch = await self.child.launch()
        if launch is None:
            return None
        engine = self._shared.launches.engine(launch, self.child)
        if engine.resident:
            start, by = SessionEvent.start, self.child.started_by
            await self._shared.store.write(lambda tx: sessions.change(tx, self.id, start, reason="needed", author=by))
        if self.stop.reason is not None:
            return None
        self.child.engine, self.state.through = engine, launch.session.through_turn
        return engine

    async def _live(self, engine: Engine) -> None:
        """Start the child and do the jobs, as long as it lives."""
        failure: RoostError | None = None
        async with trio.open_nursery() as nursery:
            try:
                await engine.serve(partial(self._ready, engine, nursery.start_soon))
                await self.running.wait_ended()
            except RoostError as exc:
                failure = exc
                nursery.cancel_scope.cancel()
            finally:
                self._mailbox.finish()
                if self.served:
                    self._step(LifeEvent.lose)
        if failure is not None:
            raise failure

    async def _ready(self, engine: Engine, start: Starter) -> None:
        if engine.resident:
            ready, pid = SessionEvent.ready, engine.pid
            await self._shared.store.write(lambda tx: sessions.change(tx, self.id, ready, reason="started", pid=pid))
        self.used_at = trio.current_time()
        self.served = True
        self._mailbox.begin(start)
        self.running.start = start
        self._step(LifeEvent.ready)

    async def _gone(self, problem: Problem | None) -> None:
        reason = problem.name if problem else self.stop.reason or "stopped"

        def gone(tx: Tx) -> None:
            if tx.session(self.id).state not in (SessionState.idle, SessionState.failed):
                sessions.change(tx, self.id, SessionEvent.gone, reason=reason, problem=problem)

        # A task that waits for a start that has failed need not wait for a full disk.
        await persist(self._shared.store, gone, delayed=self.give_up)

    def fail(self, error: RoostError) -> None:
        """Why it did not start, or why its child died; the first reason stays."""
        self.failure = self.failure or error
        self._changed.tell()

    def give_up(self) -> None:
        """It does not serve any more, or never will."""
        self._step(LifeEvent.lose)

    def close(self) -> None:
        """The task is over: every task that still waits is told."""
        self.running.close()
        self._step(LifeEvent.end)
        self.child.free()
        self._mailbox.close()

    # --- its turns ---

    async def next_turn(self) -> RunningTurn | None:
        """Claim the first queued turn and have it run; the turn that runs, None if there is none that may."""
        if self.running.turn is not None or self.stop.reason is not None:
            return self.running.turn
        assert self.child.engine is not None
        running = await self.running.begin(self.child.engine)
        if running is not None:
            self.state.dirty = self.child.engine.saves
        return running

    def _turn_ended(self, running: RunningTurn) -> None:
        if running.ended is not None:
            self.state.through = running.turn.id
            if running.ended.engine_state is not None:
                self.state.dirty = False
            if not self.child.resident:  # else its child is the session's, whatever a turn says
                self.child.free()
        self.used_at = trio.current_time()
