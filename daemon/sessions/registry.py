"""The registry: get-or-create of live sessions without races, one guard around each."""

import logging
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

from ...protocol.errors import (
    SessionArchived,
    SessionFailed,
    SessionNotFound,
    ShuttingDown,
    StorageTrouble,
    TimedOut,
    from_wire,
)
from ...protocol.model import Author, Session, SessionState, TurnState
from ..core.states import TURN, Life, SessionEvent
from ..store import Store, Tx, reads, sessions, turns
from ..waiting.awaited import Once
from ..waiting.guard import guarded
from ..waiting.mailbox import ANSWER, Letter
from .leftovers import Leftovers
from .problem import problem_of
from .recorder import persist
from .records import Records
from .restarts import Restarts
from .session import LiveSession
from .shared import Shared
from .unloading import Unloading

log = logging.getLogger(__name__)

T = TypeVar("T")


class Registry:
    """The live sessions. Only here is a live session made, and only here does it leave.

    Attributes:
        admitting: something new is taken.
    """

    def __init__(self, shared: Shared, restarts: Restarts, leftovers: Leftovers) -> None:
        self.live: dict[str, LiveSession] = {}
        self.admitting = True
        self.unloading = Unloading(shared.settings, self.live)
        self._shared = shared
        self._restarts = restarts
        self._leftovers = leftovers
        self._gates: dict[str, Once] = {}
        self._nursery: trio.Nursery

    @property
    def records(self) -> Records:
        return self._shared.records

    @property
    def store(self) -> Store:
        return self._shared.store

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Hold the sessions' tasks; started when the work that waits in the store is known."""
        await self.load(reads.with_work)
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()

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
            if found.name == ref:
                self.records.found(found)
        return session

    def record(self, session_id: str) -> Session:
        """The session of this id, which was found before.

        Raises:
            SessionNotFound: it was deleted meanwhile.
        """
        record = self.records.by_id(session_id)
        if record is None:
            raise SessionNotFound(f"there is no session {session_id!r}; `roost ls` lists them", session=session_id)
        return record

    async def load(self, query: Callable[[sqlite3.Connection], list[Session]]) -> list[Session]:
        """Have in memory the sessions that ``query`` finds.

        Read again if a session was deleted meanwhile: it would be back.
        """
        while True:
            deleted = self.records.deleted
            found = await self.store.read(query)
            if deleted == self.records.deleted:
                self.records.loaded(found)
                return found

    # --- live sessions ---

    def startable(self, session_id: str) -> bool:
        """Whether :meth:`ensure` begins to start it before it waits for anything."""
        record = self.records.by_id(session_id)
        idle = record is not None and record.state is SessionState.idle
        return idle and session_id not in self.live and session_id not in self._gates

    async def ensure(self, session_id: str, author: Author | None = None) -> LiveSession:
        """The live session, started if need be, and then by ``author``; many that ask at once share one start.

        Raises:
            SessionArchived, SessionFailed, ShuttingDown, or why it could not be started.
        """
        while (live := await self.ensured(session_id, author)) is None:
            pass
        return live

    async def ensured(self, session_id: str, author: Author | None = None) -> LiveSession | None:
        """As :meth:`ensure`. None: it was about to end, and has; it may be started again."""
        self.admit()
        if (gate := self._gates.get(session_id)) is not None:
            await gate.wait()
            return None
        live = self.live.get(session_id) or self._create(session_id, author)
        await live.child.unless_stuck(live.wait_started)
        self.admit()  # a start that the daemon's stop cut off has not failed
        if not live.served and live.failure is not None:
            raise live.failure
        if live.life is Life.serving:
            live.used_at = trio.current_time()
            return live
        await live.child.unless_stuck(live.wait_over)
        return None

    async def ask(
        self,
        session_id: str,
        job: Callable[[LiveSession], Callable[[], Awaitable[T]]],
        *,
        otherwise: T,
        within: float = ANSWER,
        first: bool = False,
    ) -> T:
        """Have a live session do ``job``: see :meth:`LiveSession.ask`. It is not started for that."""
        live = self.live.get(session_id)
        return otherwise if live is None else await live.ask(job(live), otherwise=otherwise, within=within, first=first)

    async def wait_over(self, session_id: str) -> None:
        """Until it is no live session. Raises ProcessesLeft if something of it was killed and does not end."""
        if live := self.live.get(session_id):
            await live.child.unless_stuck(live.wait_over)

    def _create(self, session_id: str, author: Author | None) -> LiveSession:
        record = self.record(session_id)
        if record.archived:
            raise SessionArchived(f"session {session_id} is archived; unarchive it first", session=session_id)
        if record.state is SessionState.failed:
            text = f"session {session_id} failed too often; see `roost show {session_id}`, then start it by hand"
            raise SessionFailed(text, session=session_id)
        self._leftovers.admit(session_id)
        live = self.live[session_id] = LiveSession(self._shared, session_id)
        live.child.started_by = author
        self._nursery.start_soon(self._own, live)
        self.unloading.make_room(self._nursery.start_soon)
        return live

    async def _own(self, live: LiveSession) -> None:
        """The guard of one session: a bug is settled here and breaks nothing else."""
        try:
            if error := await guarded(f"session {live.id}", live.run):
                await guarded(f"session {live.id}", self._settle_broken, live, error)
            died = live.failure is not None and live.stop.reason is None
            if died and live.failure is not None and not isinstance(live.failure, StorageTrouble):
                await guarded(f"session {live.id}", self._restarts.count, live.id, problem_of(live.failure))
        finally:
            if self.live.get(live.id) is live:
                del self.live[live.id]
            live.close()

    async def _settle_broken(self, live: LiveSession, error: BaseException) -> None:
        problem = problem_of(error)
        live.fail(from_wire(problem.to_wire()))

        def operation(tx: Tx) -> None:
            record = tx.session(live.id)
            if record.turn and not TURN.terminal(tx.turn(record.turn).state):
                turns.end(tx, record.turn, state=TurnState.failed, reason=problem.name, problem=problem, alive=False)
            if tx.session(live.id).state not in (SessionState.idle, SessionState.failed):
                sessions.change(tx, live.id, SessionEvent.gone, reason=problem.name, problem=problem)

        await persist(self.store, operation, delayed=live.give_up)

    # --- work of its own ---

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
        """No task starts the session meanwhile.

        Raises:
            TimedOut: the request that has it alone now took longer than is waited for.
        """
        with trio.move_on_after(ANSWER) as waiting:
            while (gate := self._gates.get(session_id)) is not None:
                await gate.wait()
        if waiting.cancelled_caught:
            text = f"another request has kept session {session_id} for {ANSWER:g} s, and this one was not begun"
            text = f"{text}; ask again, or `roost stop --force` it if its child hangs"
            raise TimedOut(text, session=session_id)
        self._gates[session_id] = Once()
        try:
            yield
        finally:
            self._gates.pop(session_id).set()
