"""The registry: get-or-create of live sessions without races, one guard around each, and room for all."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

from ...protocol.errors import (
    OutcomeUnknown,
    RoostError,
    SessionArchived,
    SessionFailed,
    SessionNotFound,
    ShuttingDown,
    StorageFailed,
    StorageGone,
    from_wire,
)
from ...protocol.model import Session, SessionState, TurnState
from ..core.intensity import allowed
from ..core.states import TURN, SessionEvent
from ..core.unload import Candidate, choose
from ..guard import guarded
from ..settings import Settings
from ..store import Commit, Store, Tx, queue, reads, sessions, turns
from .house import House, problem_of
from .letter import Letter
from .recorder import persist
from .records import Records
from .runner import QueueRunner
from .session import LiveSession

log = logging.getLogger(__name__)

T = TypeVar("T")


class Registry:
    """Which sessions live. Only here is one made, and only here does one leave."""

    def __init__(self, settings: Settings, store: Store, socket: str) -> None:
        self.records = Records()
        self.live: dict[str, LiveSession] = {}
        self.admitting = True
        self.settings = settings
        self.store = store
        self.house = House(settings, store, self.records, socket)
        self.runner = QueueRunner(
            self.records, self.drive, slots=settings.limits.max_running_turns, poll=settings.sessions.poll
        )
        self._deaths: dict[str, tuple[float, ...]] = {}
        self._failed_at: dict[str, float] = {}
        self._gates: dict[str, trio.Event] = {}
        self._nursery: trio.Nursery
        store.on_commit.append(self._committed)

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Hold the sessions' tasks; started when what waits in the store is known."""
        self.records.loaded(await self.store.read(reads.with_work))
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(guarded, "queue runner", self.runner.run)
            task_status.started()
            await trio.sleep_forever()

    def _committed(self, commit: Commit) -> None:
        self.records.apply(commit)
        if not self.records.runnable.keys().isdisjoint(commit.sessions):
            self.runner.poke()

    def admit(self) -> None:
        """Raises ShuttingDown when nothing new is taken any more."""
        if not self.admitting:
            raise ShuttingDown("roostd is stopping; try again when it is back")

    async def find(self, ref: str) -> Session:
        """The session by id, unique start of an id, or name.

        Raises:
            SessionNotFound, AmbiguousId.
        """
        session = self.records.get(ref)
        if session is None:
            found = await self.store.read(lambda conn: reads.session(conn, ref))
            self.records.loaded([found])
            session = self.records.by_id(found.id) or found
        return session

    async def ensure(self, session_id: str) -> LiveSession:
        """The live session, started if need be; many who ask at once share one start (S0.R4).

        Raises:
            SessionArchived, SessionFailed, ShuttingDown, or why it could not be started.
        """
        while True:
            self.admit()
            if (gate := self._gates.get(session_id)) is not None:
                await gate.wait()
                continue
            live = self.live.get(session_id)
            if live is None:
                live = self._create(session_id)
            elif live.stopping:
                await live.ended.wait()
                continue
            await live.started.wait()
            if live.failure is not None:
                raise live.failure
            if not live.ended.is_set():
                live.used_at = trio.current_time()
                return live

    def _create(self, session_id: str) -> LiveSession:
        record = self.records.by_id(session_id)
        if record is None:
            raise SessionNotFound(f"there is no session {session_id!r}; `roost ls` lists them", session=session_id)
        if record.archived:
            raise SessionArchived(f"session {session_id} is archived; unarchive it first", session=session_id)
        if record.state is SessionState.failed:
            raise SessionFailed(
                f"session {session_id} failed too often; see `roost show {session_id}`, then start it by hand",
                session=session_id,
            )
        live = self.live[session_id] = LiveSession(self.house, session_id)
        self._nursery.start_soon(self._own, live)
        self._make_room()
        return live

    async def _own(self, live: LiveSession) -> None:
        """The guard of one session: what breaks it is settled here and breaks nothing else."""
        try:
            if error := await guarded(f"session {live.id}", live.run):
                await guarded(f"session {live.id}", self._settle_broken, live, error)
            if live.failure is not None:
                await guarded(f"session {live.id}", self._count_death, live)
        finally:
            if self.live.get(live.id) is live:
                del self.live[live.id]
            live.close()

    async def _settle_broken(self, live: LiveSession, error: BaseException) -> None:
        problem = problem_of(error)
        if live.failure is None:
            live.failure = from_wire(problem.to_wire())

        def operation(tx: Tx) -> None:
            record = tx.session(live.id)
            if record.turn and not TURN.terminal(tx.turn(record.turn).state):
                turns.end(tx, record.turn, state=TurnState.failed, reason=problem.name, problem=problem, alive=False)
            if tx.session(live.id).state not in (SessionState.idle, SessionState.failed):
                sessions.change(tx, live.id, SessionEvent.gone, reason=problem.name, problem=problem)

        await persist(self.store, operation)

    async def _count_death(self, live: LiveSession) -> None:
        """Restart intensity: too many unwanted ends in the period, and the session is failed, in the open."""
        limits, now = self.settings.sessions, trio.current_time()
        ok, times = allowed(self._deaths.get(live.id, ()), now, limits.restart_intensity, limits.restart_period)
        self._deaths[live.id] = times
        record = self.records.by_id(live.id)
        over = not ok or len(times) >= limits.restart_intensity
        if over and record is not None and record.state is SessionState.idle and live.failure is not None:
            problem = problem_of(live.failure)
            await persist(
                self.store,
                lambda tx: sessions.change(tx, live.id, SessionEvent.give_up, reason="restart_limit", problem=problem),
            )
            self._failed_at[live.id] = now

    async def rearm(self, session_id: str) -> None:
        """A session that failed may be tried again."""
        self._deaths.pop(session_id, None)
        self._failed_at.pop(session_id, None)
        record = self.records.by_id(session_id)
        if record is not None and record.state is SessionState.failed:
            await self.store.write(lambda tx: sessions.change(tx, session_id, SessionEvent.rearm, reason="rearmed"))
        self.runner.rearm(session_id)

    def failed_long_ago(self) -> list[str]:
        """The failed sessions whose time to be tried again has come."""
        latest = trio.current_time() - self.settings.sessions.rearm
        return [session_id for session_id, at in self._failed_at.items() if at <= latest]

    def _make_room(self) -> None:
        """Unload the least recently used beyond ``max_live``; never one that runs a turn (S2.L2, S2.L3)."""
        for session_id in self.idle_too_long(idle=float("inf")):
            self._nursery.start_soon(self.unload, session_id, "max_live")

    def idle_too_long(self, idle: float) -> list[str]:
        """The sessions to unload now."""
        candidates = [
            Candidate(live.id, live.used_at, live.busy)
            for live in self.live.values()
            if not live.stopping and (live.resident or not live.started.is_set())
        ]
        return choose(candidates, now=trio.current_time(), idle=idle, max_live=self.settings.limits.max_live)

    async def unload(self, session_id: str, reason: str) -> bool:
        """Save and stop a session that nobody uses. False: it stays, and is looked at again at the next sweep."""
        live = self.live.get(session_id)
        if live is None:
            return False
        try:
            done = await live.ask(lambda: live.unload(reason))
        except RoostError as exc:
            log.warning("session %s stays loaded: %s", session_id, exc)
            return False
        if done:
            await live.ended.wait()
        return done

    async def owned(self, work: Callable[[], Awaitable[T]]) -> T:
        """Have ``work`` done in the registry's nursery; leaving ends only the waiting."""
        letter = Letter(work)
        self._nursery.start_soon(letter.open)
        return await letter.outcome()

    @asynccontextmanager
    async def alone(self, session_id: str) -> AsyncGenerator[None]:
        """Nobody starts the session meanwhile."""
        while (gate := self._gates.get(session_id)) is not None:
            await gate.wait()
        self._gates[session_id] = trio.Event()
        try:
            yield
        finally:
            self._gates.pop(session_id).set()

    async def drive(self, session_id: str) -> bool:
        """Run the session's next turn to its end. False: it failed in a way that asks for a pause."""
        try:
            live = await self.ensure(session_id)
        except (ShuttingDown, SessionArchived, SessionNotFound):
            return True
        except (SessionFailed, StorageFailed, StorageGone, OutcomeUnknown):
            return False
        except RoostError as exc:
            await self._fail_next(session_id, exc)
            return False
        try:
            running = await live.ask(live.next_turn)
        except RoostError as exc:
            log.info("session %s: no turn was started: %s", session_id, exc)
            return live.failure is None
        if running is None:
            return True
        await running.done.wait()
        return running.ended is None or running.ended.problem is None or running.ended.problem.name == "turn_failed"

    async def _fail_next(self, session_id: str, error: RoostError) -> None:
        """Its engine cannot be started: the turn that wanted it fails with that reason."""
        problem = problem_of(error)

        def operation(tx: Tx) -> None:
            if turn := queue.first(tx, session_id):
                turns.fail_queued(tx, turn.id, problem)

        await self.store.write(operation)
