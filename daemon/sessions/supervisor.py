"""The sessions' supervisor: the verbs on sessions, as their owner does them. A client may leave: the work goes on."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import trio

from ...protocol.errors import OutcomeUnknown, TimedOut
from ...protocol.methods import SessionCreateParams, SessionStopResult
from ...protocol.model import DAEMON, Author, EngineKind, Problem, ProcessStats, Session, SessionState
from ..current import Current
from ..process.processes import Processes
from ..process.usage import Usage
from ..store import Store, queue, reads, sessions
from ..waiting.guard import guarded
from ..waiting.mailbox import ANSWER
from .checkpoints import Checkpoints
from .drive import drive
from .launch import Launches
from .leftovers import Leftovers
from .prompts import Prompts
from .records import Records
from .registry import Registry
from .restarts import Restarts
from .runner import QueueRunner
from .shared import Shared

T = TypeVar("T")

_SETTLED = (SessionState.idle, SessionState.ready, SessionState.failed)


class Supervisor:
    """Wires the room. ``registry`` knows which sessions live.

    Attributes:
        prompts: the verbs on turns. checkpoints: the verbs on the engines' states.
    """

    def __init__(self, settings: Current, store: Store, processes: Processes) -> None:
        self.settings = settings
        self.store = store
        self.records = Records()
        self.runner = QueueRunner(
            self.records,
            lambda session_id: drive(self.registry, session_id),
            slots=lambda: settings.limits.max_running_turns,
            poll=lambda: settings.sessions.poll,
        )
        self.launches = Launches(settings, store, processes)
        self.restarts = Restarts(settings, store, self.records)
        self.leftovers = Leftovers(store, processes, self.runner.poke)
        shared = Shared(settings, store, self.records, self.launches, self.runner)
        self.registry = Registry(shared, self.restarts, self.leftovers)
        self.prompts = Prompts(self.registry, settings)
        self.checkpoints = Checkpoints(self.registry)
        self._usage = Usage(processes)
        store.on_commit += [self.records.apply, self.runner.heed]

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Hold the sessions' tasks and the queue runner's."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.registry.run)
            task_status.started()
            while not self.runner.stopped:
                await guarded("queue runner", self.runner.run)
                await trio.sleep(self.settings.sessions.poll)

    async def load_all(self) -> None:
        """Have every session in memory."""
        if not self.records.complete:
            await self.registry.load(reads.all_sessions)
            self.records.complete = True

    def in_flight(self) -> dict[str, int]:
        """Session → ms for which the queue runner has been driving it, or its turn running."""
        now = trio.current_time()
        return {s: round((now - began) * 1000) for s, began in self.runner.drives.in_flight.items()}

    async def usage(self) -> list[ProcessStats]:
        """The resources that the daemon and its children use now."""
        return await self.registry.owned(self._usage.measured)

    # --- the verbs ---

    async def create(self, params: SessionCreateParams, author: Author) -> Session:
        self.registry.admit()
        return await self.registry.owned(partial(self._create, params, author))

    async def _create(self, params: SessionCreateParams, author: Author) -> Session:
        name = params.engine or self.settings.sessions.default_engine
        engine = self.launches.engine_settings(name)
        workspace = await self.launches.workspace(params.workspace)
        return await self.store.write(
            lambda tx: sessions.create(
                tx,
                name=params.name,
                engine=name,
                kind=EngineKind(engine.kind),
                workspace=workspace,
                env=params.env,
                after=params.after,
                limits=params.limits,
                key=params.key,
                author=author,
            )
        )

    async def start(self, session_id: str, author: Author = DAEMON) -> Session:
        """Have its child running. Nothing to start for kind command."""
        if self.registry.startable(session_id):
            # It begins at once, in its own task: many that wait for that need not have one more each.
            await self._start(session_id, author)
        else:
            await self.registry.owned(partial(self._start, session_id, author))
        return self.registry.record(session_id)

    async def _start(self, session_id: str, author: Author) -> None:
        await self.rearm(session_id, author)
        await self.registry.ensure(session_id, author)

    async def rearm(self, session_id: str, author: Author = DAEMON) -> None:
        """A session that failed may be tried again, and what is queued in it."""
        await self.restarts.rearm(session_id, author)
        self.runner.rearm(session_id)

    async def stop(self, session_id: str, force: bool = False, author: Author = DAEMON) -> SessionStopResult:
        unsaved = await self._ended(session_id, partial(self._stop, session_id, force, author))
        return SessionStopResult(session=self.registry.record(session_id), unsaved=unsaved)

    async def _stop(self, session_id: str, force: bool, author: Author) -> Problem | None:
        """Why its state could not be saved, if it could not: a stop with force gives it up."""
        if self.registry.record(session_id).queued:  # whatever ends its child first: an unload, or a start that fails
            await self._park(session_id, author)
        live = self.registry.live.get(session_id)  # it may have been started before its queue was parked
        if live is None:
            self.leftovers.admit(session_id)
            return None
        if force:
            await live.stop.at_once(author)
        await live.ask(lambda: live.stop.orderly("user", author), otherwise=None, first=True)
        await self.registry.wait_over(session_id)
        return None if force else live.state.unsaved

    async def _park(self, session_id: str, author: Author) -> None:
        try:
            await self.store.write(lambda tx: queue.hold(tx, tx.session(session_id), "stopped", author=author))
        except OutcomeUnknown:
            if session_id not in self.registry.live:  # else its stop says it once more
                raise

    async def archive(self, session_id: str, author: Author = DAEMON) -> SessionStopResult:
        unsaved = await self._ended(session_id, partial(self._archive, session_id, author))
        return SessionStopResult(session=self.registry.record(session_id), unsaved=unsaved)

    async def _archive(self, session_id: str, author: Author) -> Problem | None:
        """Why its state could not be saved, if it could not."""
        unsaved = None
        async with self.registry.alone(session_id):
            record = self.registry.record(session_id)
            if record.turn is None and not record.queued:
                unsaved = await self._stop(session_id, False, author)
            await self.store.write(lambda tx: sessions.archive(tx, session_id, author))
        return unsaved

    async def delete(self, session_id: str, force: bool = False, author: Author = DAEMON) -> None:
        await self._ended(session_id, partial(self._delete, session_id, force, author))

    async def _delete(self, session_id: str, force: bool, author: Author) -> None:
        async with self.registry.alone(session_id):
            record = self.registry.record(session_id)
            if force or (record.turn is None and not record.queued):
                await self._stop(session_id, True, author)
            await self.store.write(lambda tx: sessions.delete(tx, session_id, force=force, author=author))
            self.restarts.forget(session_id)
            self.runner.drives.rearm(session_id)
        await self.launches.stderr.remove(session_id)

    async def release(self, session_id: str, author: Author = DAEMON) -> tuple[Session, int]:
        self.runner.rearm(session_id)
        return await self.store.write(lambda tx: sessions.release(tx, session_id, author=author))

    async def wait_settled(self, session_id: str) -> Session:
        """Until nothing of it runs and nothing can run."""
        while True:
            with self.records.changed.next(session_id) as changed:
                record = self.registry.record(session_id)
                if record.state in _SETTLED and session_id not in self.records.runnable:
                    return record
                await changed.wait()

    async def _ended(self, session_id: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do ``work``, which ends the session's child, and give its result.

        Raises:
            TimedOut: not within what its child is given, for what it does now and for its state; the work goes on.
        """
        given, most = self.settings.sessions, self.settings.limits.start_timeout + 2 * ANSWER
        within = most + given.cancel_grace + given.stop_grace + given.term_grace
        with trio.move_on_after(within):
            return await self.registry.owned(work)
        text = f"session {session_id} has not ended within {within:g} s; what was asked for goes on"
        text = f"{text}: `roost show {session_id}` tells, `roost stop --force {session_id}` ends it unasked"
        raise TimedOut(text, session=session_id)
