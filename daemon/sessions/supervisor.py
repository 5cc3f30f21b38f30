"""Every verb on sessions and turns, as its owner does it. Whoever asked may leave: the work goes on."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio

from ...protocol import rpc
from ...protocol.errors import (
    CheckpointNotFound,
    InvalidParams,
    NotSupported,
    OutcomeUnknown,
    RoostError,
    SessionNotFound,
    TimedOut,
    WorkerExited,
)
from ...protocol.methods import (
    SessionCreateParams,
    SessionStateResult,
    SessionStopResult,
    SessionUpdateParams,
    TurnCancelResult,
    TurnSendParams,
    TurnSendResult,
)
from ...protocol.model import Author, Checkpoint, EngineKind, Problem, ProcessStats, Session, SessionState, Turn
from ..core.result import check_size
from ..core.states import TURN
from ..current import Current
from ..process.processes import Processes
from ..process.usage import Usage
from ..process.workspace import canonical
from ..store import Store, checkpoints, queue, reads, sessions, turns
from ..waiting.mailbox import ANSWER
from .house import FILE_DEADLINE
from .registry import Registry
from .session import LiveSession

T = TypeVar("T")


class Supervisor:
    """The verbs. ``registry`` knows which sessions live."""

    def __init__(self, settings: Current, store: Store, processes: Processes) -> None:
        self.registry = Registry(settings, store, processes)
        self.records = self.registry.records
        self.settings = settings
        self.store = store
        self._usage = Usage(processes)

    async def find(self, ref: str) -> Session:
        return await self.registry.find(ref)

    async def find_turn(self, ref: str) -> Turn:
        """By id or unique start of an id; its session is in memory afterwards."""
        turn = await self.store.read(lambda conn: reads.turn(conn, ref))
        await self.find(turn.session)
        return turn

    async def load_all(self) -> None:
        """Have every session in memory."""
        if not self.records.complete:
            await self.registry.load(reads.all_sessions)
            self.records.complete = True

    def in_flight(self) -> dict[str, int]:
        """Session → ms for which the queue runner has been driving it."""
        now = trio.current_time()
        return {s: round((now - began) * 1000) for s, began in self.registry.runner.drives.in_flight.items()}

    async def usage(self) -> list[ProcessStats]:
        """What the daemon and its children use now."""
        return await self._owned(self._usage.measured)

    # --- sessions ---

    async def create(self, params: SessionCreateParams, author: Author) -> Session:
        self.registry.admit()
        return await self._owned(self._create, params, author)

    async def _create(self, params: SessionCreateParams, author: Author) -> Session:
        name = params.engine or self.settings.sessions.default_engine
        engine = self.registry.house.engine_settings(name)
        workspace = await canonical(params.workspace, files=self.registry.house.files, deadline=FILE_DEADLINE)
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

    async def update(self, session_id: str, params: SessionUpdateParams) -> Session:
        return await self.store.write(
            lambda tx: sessions.update(tx, session_id, name=params.name, after=params.after, limits=params.limits)
        )

    async def start(self, session_id: str) -> Session:
        """Have its child running. Nothing to start for kind command."""
        if self.registry.startable(session_id):
            # It begins at once, in its own task: many that wait for that need not have one more each.
            await self._start(session_id)
        else:
            await self._owned(self._start, session_id)
        return self._record(session_id)

    async def _start(self, session_id: str) -> None:
        await self.registry.rearm(session_id)
        await self.registry.ensure(session_id)

    async def stop(self, session_id: str, force: bool = False) -> SessionStopResult:
        unsaved = await self._ended(session_id, self._stop, session_id, force)
        return SessionStopResult(session=self._record(session_id), unsaved=unsaved)

    async def _stop(self, session_id: str, force: bool) -> Problem | None:
        """Why its state could not be saved, if it could not: who forces the stop gives it up."""
        if self._record(session_id).queued:  # whatever ends its child first: an unload, or a start that fails
            await self._park(session_id)
        live = self.registry.live.get(session_id)  # it may have been started before its queue was parked
        if live is None:
            self.registry.leftovers.admit(session_id)
            return None
        if force:
            await live.stop_now()
        await live.unless_stuck(live.started.wait)
        if live.serving and not live.stopping:
            await self._unless_gone(live, live.unless_stuck(lambda: live.ask_first(lambda: live.stop("user"))))
        await live.unless_stuck(live.ended.wait)
        return None if force else live.unsaved

    async def _park(self, session_id: str) -> None:
        try:
            await self.store.write(lambda tx: queue.hold(tx, tx.session(session_id), "stopped"))
        except OutcomeUnknown:
            if session_id not in self.registry.live:  # else its stop says it once more
                raise

    async def state(self, session_id: str, name: str) -> SessionStateResult:
        live = self.registry.live.get(session_id)
        if name == "latest" and live is not None and live.resident and live.serving:
            told = await self._unless_gone(live, live.ask(live.told_state, ANSWER))
            if told is not None:
                packed, through = told
                return SessionStateResult(source="live", through_turn=through, at=None, state=_sendable(packed))
        saved = await self.store.read(lambda conn: checkpoints.load(conn, session_id, name))
        if saved is None:
            if name != "latest":
                raise _no_checkpoint(session_id, name)
            return SessionStateResult(source="none", through_turn=None, at=None, state=None)
        kept, packed = saved
        return SessionStateResult(
            source="checkpoint", through_turn=kept.through_turn, at=kept.at, state=_sendable(packed)
        )

    async def clear(self, session_id: str) -> Session:
        if self._record(session_id).kind is EngineKind.command:
            raise NotSupported(f"session {session_id} is of kind command: it has no state", session=session_id)
        await self._owned(self._clear, session_id)
        return self._record(session_id)

    async def _clear(self, session_id: str) -> None:
        async with self.registry.alone(session_id):
            live = self.registry.live.get(session_id)
            if live is not None:
                await live.unless_stuck(live.started.wait)
                if live.serving and not live.stopping:
                    if await self._unless_gone(live, live.ask(live.clear, ANSWER)):
                        return
                await live.unless_stuck(live.ended.wait)
            await self.store.write(lambda tx: checkpoints.clear(tx, session_id, None))

    async def checkpoint(self, session_id: str, name: str) -> Checkpoint:
        """Save the live state under ``name``, or copy the latest saved one when there is no child."""
        live = self.registry.live.get(session_id)
        if live is not None and live.resident and not live.stopping:
            await live.unless_stuck(live.started.wait)
            if live.serving:
                self._must_save(live)
                made = await self._unless_gone(live, live.ask(lambda: live.save(name), ANSWER))
                if made is not None:
                    return made
        saved = await self.store.read(lambda conn: checkpoints.load(conn, session_id, "latest"))
        if saved is None:
            text = f"session {session_id} has no state yet; a prompt gives it one: `roost send {session_id} PROMPT`"
            raise CheckpointNotFound(text, session=session_id, checkpoint="latest")
        latest, packed = saved
        if name == "latest":
            return latest
        return await self.store.write(
            lambda tx: checkpoints.save(tx, session_id, name=name, state=packed, through_turn=latest.through_turn)
        )

    def _must_save(self, live: LiveSession) -> None:
        if live.engine is None or not live.engine.saves:
            raise NotSupported(f"the engine of session {live.id} has no state that can be saved", session=live.id)

    async def archive(self, session_id: str) -> SessionStopResult:
        unsaved = await self._ended(session_id, self._archive, session_id)
        return SessionStopResult(session=self._record(session_id), unsaved=unsaved)

    async def _archive(self, session_id: str) -> Problem | None:
        """Why its state could not be saved, if it could not."""
        unsaved = None
        async with self.registry.alone(session_id):
            record = self._record(session_id)
            if record.turn is None and not record.queued:
                unsaved = await self._stop(session_id, False)
            await self.store.write(lambda tx: sessions.archive(tx, session_id))
        return unsaved

    async def unarchive(self, session_id: str) -> Session:
        return await self.store.write(lambda tx: sessions.unarchive(tx, session_id))

    async def delete(self, session_id: str, force: bool = False) -> None:
        await self._ended(session_id, self._delete, session_id, force)

    async def _delete(self, session_id: str, force: bool) -> None:
        async with self.registry.alone(session_id):
            record = self._record(session_id)
            if force or (record.turn is None and not record.queued):
                await self._stop(session_id, True)
            await self.store.write(lambda tx: sessions.delete(tx, session_id, force=force))
            self.registry.forget(session_id)
        await self.registry.house.stderr.remove(session_id)

    async def release(self, session_id: str) -> tuple[Session, int]:
        self.registry.runner.rearm(session_id)
        return await self.store.write(lambda tx: sessions.release(tx, session_id))

    async def wait_settled(self, session_id: str) -> Session:
        """Until nothing of it runs and nothing can run."""
        while True:
            record = self._record(session_id)
            if record.state in _SETTLED and session_id not in self.records.runnable:
                return record
            await self.records.wait_changed(session_id)

    # --- turns ---

    async def send(self, params: TurnSendParams, author: Author) -> TurnSendResult:
        self.registry.admit()
        if self.records.get(params.session) is None or params.retry_of:
            # Something must be read first: whoever leaves meanwhile has sent it all the same.
            return await self._owned(self._send, params, author)
        return await self._send(params, author)

    async def _send(self, params: TurnSendParams, author: Author) -> TurnSendResult:
        session = await self.find(params.session)
        self._check_size(params.input)
        retry_of = (await self.find_turn(params.retry_of)).id if params.retry_of else None
        turn, held, ahead = await self.store.write(
            lambda tx: turns.send(
                tx,
                session.id,
                input=params.input,
                timeout=params.timeout,
                idle_timeout=params.idle_timeout,
                retry_of=retry_of,
                key=params.key,
                author=author,
                limit=self.settings.limits.queue,
            )
        )
        return TurnSendResult(turn=turn, held=held, ahead=ahead)

    def _check_size(self, prompt: str) -> None:
        size, limit = len(prompt.encode("utf-8", "replace")), self.settings.limits.prompt
        if size > limit:
            text = f"the prompt has {size} bytes and may have {limit}; put the rest into a file of the workspace"
            raise InvalidParams(text, field="input", bytes=size, limit=limit)

    async def cancel(self, turn_id: str, reason: str, author: Author | None) -> TurnCancelResult:
        turn, outcome = await self._owned(self._cancel, turn_id, reason, author)
        return TurnCancelResult(turn=turn, outcome=outcome)

    async def _cancel(self, turn_id: str, reason: str, author: Author | None) -> tuple[Turn, turns.Outcome]:
        turn, outcome = await self.store.write(
            lambda tx: turns.request_cancel(tx, turn_id, reason=reason, author=author)
        )
        if outcome == "requested" and (live := self.registry.live.get(turn.session)):
            live.cancel(turn_id, turn.cancelling or reason)
        return turn, outcome

    async def edit(self, turn_id: str, input: str) -> Turn:
        self._check_size(input)
        return await self.store.write(lambda tx: turns.edit(tx, turn_id, input))

    async def move(self, turn_id: str, before: str | None) -> Turn:
        return await self.store.write(lambda tx: turns.move(tx, turn_id, before))

    async def remove(self, turn_id: str) -> Turn:
        return await self.store.write(lambda tx: turns.remove(tx, turn_id))

    async def wait_turn(self, turn_id: str) -> Turn:
        """The turn once it has ended."""
        while True:
            with self.records.turn_end(turn_id) as ended:
                turn = await self.store.read(lambda conn: reads.turn(conn, turn_id))
                if TURN.terminal(turn.state):
                    return turn
                await ended.wait()

    # --- ownership ---

    def _record(self, session_id: str) -> Session:
        record = self.records.by_id(session_id)
        if record is None:
            raise SessionNotFound(f"there is no session {session_id!r}; `roost ls` lists them", session=session_id)
        return record

    async def _unless_gone(self, live: LiveSession, asked: Awaitable[T]) -> T | None:
        """What ``live`` answers; None if it ended before it could: then what is saved is the truth."""
        try:
            return await asked
        except WorkerExited:
            return None
        except RoostError:
            if live.serving:
                raise
            return None

    async def _ended(self, session_id: str, work: Callable[..., Awaitable[T]], *args: object) -> T:
        """Do ``work``, which ends the session's child, and give what comes of it.

        Raises:
            TimedOut: not within what its child is given, for what it does now and for its state; the work goes on.
        """
        given, most = self.settings.sessions, self.settings.limits.start_timeout + 2 * ANSWER
        within = most + given.cancel_grace + given.stop_grace + given.term_grace
        try:
            with trio.fail_after(within):
                return await self._owned(work, *args)
        except trio.TooSlowError:
            text = f"session {session_id} has not ended within {within:g} s; what was asked for goes on"
            text = f"{text}: `roost show {session_id}` tells, `roost stop --force {session_id}` ends it unasked"
            raise TimedOut(text, session=session_id) from None

    async def _owned(self, work: Callable[..., Awaitable[T]], *args: object) -> T:
        """Do ``work`` in the registry's nursery; being cancelled here ends only the waiting."""
        return await self.registry.owned(lambda: work(*args))


def _sendable(packed: bytes) -> Any:
    """A state that is told. One that is too large is not unpacked: that would hold up all others, and for nothing.

    Raises:
        ResultTooLarge.
    """
    check_size("session.state", len(packed))
    return rpc.unpack(packed)


def _no_checkpoint(session_id: str, name: str) -> CheckpointNotFound:
    text = f"session {session_id} has no checkpoint {name!r}; `roost checkpoint {session_id} --list` lists them"
    return CheckpointNotFound(text, session=session_id, checkpoint=name)


_SETTLED = (SessionState.idle, SessionState.ready, SessionState.failed)
