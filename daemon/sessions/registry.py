"""The registry: get-or-create of live sessions without races, one guard around each, and room for all."""

import logging
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

from ...protocol.errors import (
    OutcomeUnknown,
    ProcessesLeft,
    RoostError,
    SessionArchived,
    SessionFailed,
    SessionNotFound,
    ShuttingDown,
    StorageFailed,
    StorageGone,
    TimedOut,
    from_wire,
)
from ...protocol.model import Problem, Session, SessionState, TurnState
from ..core.intensity import allowed
from ..core.states import TURN, SessionEvent
from ..core.unload import Candidate, choose
from ..current import Current
from ..process.processes import Processes
from ..store import Commit, Store, Tx, queue, reads, sessions, turns
from ..waiting.guard import guarded
from ..waiting.mailbox import ANSWER, Letter
from .house import House, problem_of
from .leftovers import Leftovers
from .recorder import persist
from .records import Records
from .runner import QueueRunner
from .session import LiveSession

log = logging.getLogger(__name__)

STORAGE = (StorageFailed, StorageGone, OutcomeUnknown)
"""Failures that are not the session's own."""

T = TypeVar("T")


class Registry:
    """Which sessions live. Only here is one made, and only here does one leave."""

    def __init__(self, settings: Current, store: Store, processes: Processes) -> None:
        self.records = Records()
        self.live: dict[str, LiveSession] = {}
        self.admitting = True
        self.settings = settings
        self.store = store
        self.house = House(settings, store, self.records, processes)
        self.runner = QueueRunner(
            self.records,
            self.drive,
            slots=lambda: settings.limits.max_running_turns,
            poll=lambda: settings.sessions.poll,
        )
        self.leftovers = Leftovers(store, processes, self.runner.poke)
        self._deaths: dict[str, tuple[float, ...]] = {}
        self._failed_at: dict[str, float] = {}
        self._gates: dict[str, trio.Event] = {}
        self._nursery: trio.Nursery
        store.on_commit.append(self._committed)

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Hold the sessions' tasks; started when what waits in the store is known."""
        await self.load(reads.with_work)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            while not self.runner.stopped:
                await guarded("queue runner", self.runner.run)
                await trio.sleep(self.settings.sessions.poll)
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
            [found] = await self.load(lambda conn: [reads.session(conn, ref)])
            session = self.records.by_id(found.id) or found
        return session

    async def load(self, query: Callable[[sqlite3.Connection], list[Session]]) -> list[Session]:
        """Have in memory what ``query`` finds; read again if one was deleted meanwhile, for it would be back."""
        while True:
            deleted = self.records.deleted
            found = await self.store.read(query)
            if deleted == self.records.deleted:
                self.records.loaded(found)
                return found

    def startable(self, session_id: str) -> bool:
        """Whether :meth:`rearm` and :meth:`ensure` have begun to start it before they wait for anything."""
        record = self.records.by_id(session_id)
        idle = record is not None and record.state is SessionState.idle
        return idle and session_id not in self.live and session_id not in self._gates

    async def ensure(self, session_id: str) -> LiveSession:
        """The live session, started if need be; many who ask at once share one start (S0.R4).

        Raises:
            SessionArchived, SessionFailed, ShuttingDown, or why it could not be started.
        """
        while (live := await self._ensured(session_id)) is None:
            pass
        return live

    async def _ensured(self, session_id: str) -> LiveSession | None:
        """None: it was about to end, and has; it may be started again."""
        self.admit()
        if (gate := self._gates.get(session_id)) is not None:
            await gate.wait()
            return None
        live = self.live.get(session_id)
        if live is None:
            live = self._create(session_id)
        await live.unless_stuck(live.started.wait)
        self.admit()  # a start that the daemon's stop cut off has not failed
        if not live.ready and live.failure is not None:
            raise live.failure
        if live.serving and not live.stopping:
            live.used_at = trio.current_time()
            return live
        await live.unless_stuck(live.ended.wait)
        return None

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
        self.leftovers.admit(session_id)
        live = self.live[session_id] = LiveSession(self.house, session_id)
        self._nursery.start_soon(self._own, live)
        self._make_room()
        return live

    async def _own(self, live: LiveSession) -> None:
        """The guard of one session: what breaks it is settled here and breaks nothing else."""
        try:
            if error := await guarded(f"session {live.id}", live.run):
                await guarded(f"session {live.id}", self._settle_broken, live, error)
            if live.failure is not None and not live.stopping and not isinstance(live.failure, STORAGE):
                await guarded(f"session {live.id}", self._count_death, live.id, problem_of(live.failure))
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

        await persist(self.store, operation, delayed=live.started.set)

    async def _count_death(self, session_id: str, problem: Problem) -> None:
        """Restart intensity: too many unwanted ends in the period, and the session is failed, in the open."""
        limits, now = self.settings.sessions, trio.current_time()
        self._deaths = {id: ends for id, ends in self._deaths.items() if now - ends[-1] <= limits.restart_period}
        ok, ends = allowed(self._deaths.get(session_id, ()), now, limits.restart_intensity, limits.restart_period)
        self._deaths[session_id] = ends

        def give_up(tx: Tx) -> None:
            if tx.session(session_id).state is SessionState.idle:
                sessions.change(tx, session_id, SessionEvent.give_up, reason="restart_limit", problem=problem)

        if not ok or len(ends) >= limits.restart_intensity:
            self._failed_at[session_id] = now  # not when it failed before it was re-armed
            await persist(self.store, give_up)

    async def rearm(self, session_id: str) -> None:
        """A session that failed may be tried again."""
        self.forget(session_id)

        def operation(tx: Tx) -> None:
            if tx.session(session_id).state is SessionState.failed:
                sessions.change(tx, session_id, SessionEvent.rearm, reason="rearmed")

        record = self.records.by_id(session_id)
        if record is not None and record.state is SessionState.failed:
            await self.store.write(operation)
        self.runner.poke()

    def forget(self, session_id: str) -> None:
        """What was remembered of its failures."""
        self._deaths.pop(session_id, None)
        self.runner.drives.rearm(session_id)

    def failed_long_ago(self) -> list[str]:
        """The failed sessions whose time to be tried again has come."""
        now = trio.current_time()
        failed = [session.id for session in self.records.known() if session.state is SessionState.failed]
        self._failed_at = {session_id: self._failed_at.get(session_id, now) for session_id in failed}
        return [session_id for session_id, at in self._failed_at.items() if now - at >= self.settings.sessions.rearm]

    def _make_room(self) -> None:
        """Unload the least recently used beyond ``max_live``; never one that runs a turn (S2.L2, S2.L3)."""
        for session_id in self.idle_too_long(idle=float("inf")):
            self._nursery.start_soon(guarded, f"unload of {session_id}", self.unload, session_id, "max_live")

    def idle_too_long(self, idle: float) -> list[str]:
        """The sessions to unload now. One without a child takes no place among ``max_live``, but memory."""
        now, limit = trio.current_time(), self.settings.limits.max_live
        found: dict[bool, list[Candidate]] = {True: [], False: []}
        for live in self.live.values():
            if not live.stopping:
                with_child = live.resident or not live.started.is_set()
                found[with_child].append(Candidate(live.id, live.used_at, live.busy))
        return choose(found[True], now=now, idle=idle, max_live=limit) + choose(
            found[False], now=now, idle=idle, max_live=0
        )

    async def unload(self, session_id: str, reason: str) -> bool:
        """Save and stop a session that nobody uses. False: it stays, and is looked at again at the next sweep."""
        live = self.live.get(session_id)
        if live is None:
            return False
        try:
            if done := await live.ask(lambda: live.unload(reason), ANSWER):
                await live.unless_stuck(live.ended.wait)
        except RoostError as exc:
            log.warning("session %s stays loaded: %s", session_id, exc)
            return False
        return done

    async def owned(self, work: Callable[[], Awaitable[T]]) -> T:
        """Have ``work`` done in the registry's nursery; leaving ends only the waiting."""
        letter = Letter(work)
        self._nursery.start_soon(self._do, letter)
        return await letter.outcome()

    async def _do(self, letter: Letter[T]) -> None:
        try:
            await letter.open()
        finally:
            letter.refuse(ShuttingDown("roostd ended before this was done; try again when it is back"))

    @asynccontextmanager
    async def alone(self, session_id: str) -> AsyncGenerator[None]:
        """Nobody starts the session meanwhile.

        Raises:
            TimedOut: what has it alone now took longer than is waited for.
        """
        try:
            with trio.fail_after(ANSWER):
                while (gate := self._gates.get(session_id)) is not None:
                    await gate.wait()
        except trio.TooSlowError:
            text = f"another request has kept session {session_id} for {ANSWER:g} s, and this one was not begun"
            text = f"{text}; ask again, or `roost stop --force` it if its child hangs"
            raise TimedOut(text, session=session_id) from None
        self._gates[session_id] = trio.Event()
        try:
            yield
        finally:
            self._gates.pop(session_id).set()

    async def drive(self, session_id: str) -> bool:
        """Run the session's next turn to its end. False: it failed in a way that asks for a pause."""
        try:
            live = None
            while live is None:
                if session_id not in self.records.runnable:  # stopped meanwhile: it is to stay so
                    return True
                live = await self._ensured(session_id)
        except (ShuttingDown, SessionNotFound):
            return True
        except (SessionArchived, SessionFailed, ProcessesLeft, *STORAGE):
            return False
        except RoostError as exc:
            live = self.live.get(session_id)
            if live is None or live.stuck_by is None:  # else what it waits for may still end
                await self._fail_next(session_id, exc)
            return False
        try:
            running = await live.ask(live.next_turn)
        except RoostError as exc:
            log.info("session %s: no turn was started: %s", session_id, exc)
            return live.ended.is_set() and live.failure is None
        if running is None:
            return True
        await running.done.wait()
        ended = running.ended
        return ended is not None and (ended.problem is None or ended.problem.name == "turn_failed")

    async def _fail_next(self, session_id: str, error: RoostError) -> None:
        """Its engine cannot be started: the turn that wanted it fails with that reason, unless it is parked."""
        problem = problem_of(error)

        def operation(tx: Tx) -> None:
            if queue.held(tx.session(session_id)) is None and (turn := queue.first(tx, session_id)):
                turns.fail_queued(tx, turn.id, problem)

        try:
            await self.store.write(operation)
        except (SessionNotFound, *STORAGE) as exc:
            log.info("session %s: its turn is tried again: %s", session_id, exc)
