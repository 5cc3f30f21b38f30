"""A live session: one task, one nursery, one child. What is asked of it waits in a bounded mailbox, in order."""

import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio

from ...protocol.errors import RoostError, SessionBusy, WorkerExited
from ...protocol.model import Checkpoint, Problem, Session
from ..core.states import SessionEvent
from ..engines.engine import Engine, Launch
from ..process.spawn import Identity
from ..process.workspace import canonical
from ..settings import secrets
from ..store import Tx, checkpoints, children, reads, sessions, turns
from ..store.items import Change
from .house import House, problem_of
from .letter import Letter
from .recorder import persist
from .turn import RunningTurn

log = logging.getLogger(__name__)

MAILBOX = 100
HISTORY = 20
WORKSPACE_DEADLINE = 10.0

T = TypeVar("T")


class LiveSession:
    """Owner of one session's child and running turn."""

    def __init__(self, house: House, session_id: str) -> None:
        self.id = session_id
        self.house = house
        self.started = trio.Event()
        """It is ready, or has ended without being so."""
        self.ended = trio.Event()
        """Its task is over: no known pid of it lives."""
        self.failure: RoostError | None = None
        """Why it did not start, or why its child died."""
        self.stopping = False
        self.dirty = False
        """The engine's state may have changed since it was last saved."""
        self.turn: RunningTurn | None = None
        self.used_at = trio.current_time()
        self.engine: Engine | None = None
        self._cancels: dict[str, str] = {}
        self._stop_reason = "stopped"
        self._over = False
        self._receiving = trio.CancelScope()
        self._mail_in, self._mail_out = trio.open_memory_channel[Letter[Any]](MAILBOX)

    # --- what the supervisor calls ---

    async def ask(self, job: Callable[[], Awaitable[T]]) -> T:
        """Have ``job`` done in the session's task, after what was asked before. Leaving ends only the waiting.

        Raises:
            WorkerExited: the session ended before it was done.
        """
        letter = Letter(job)
        try:
            await self._mail_in.send(letter)
        except trio.BrokenResourceError:
            raise self.terminated() from None
        return await letter.outcome()

    def terminated(self) -> RoostError:
        return self.failure or WorkerExited("the session's child has ended; try again to start it", session=self.id)

    def cancel(self, turn_id: str, reason: str) -> None:
        """The cancel of ``turn_id`` is on disk: carry it out, also when the turn is just being claimed."""
        if self.turn is not None and self.turn.turn.id == turn_id:
            self.turn.cancel(reason)
        else:
            self._cancels[turn_id] = reason

    @property
    def busy(self) -> bool:
        return self.turn is not None or not self.started.is_set()

    @property
    def resident(self) -> bool:
        return self.engine is not None and self.engine.resident

    # --- its task ---

    async def run(self) -> None:
        """From the spawn to the end of the child."""
        engine = self.engine = self.house.engine(await self._launch(), self)
        if engine.resident:
            await self._change(SessionEvent.start, "needed")
        async with trio.open_nursery() as nursery:
            try:
                await nursery.start(engine.serve)
            except RoostError as exc:
                self.failure = exc
                return await self._gone(problem_of(exc))
            await self._ready(engine)
            nursery.start_soon(self._serve, nursery)
            await engine.gone.wait()
            if self.turn is not None:
                await self.turn.done.wait()
            self._over = True
            self._receiving.cancel()
        if engine.problem is not None:
            self.failure = WorkerExited(engine.problem.message, **engine.problem.data)
        await self._gone(engine.problem)

    async def _ready(self, engine: Engine) -> None:
        record = self.house.record(self.id)
        if engine.resident:

            def ready(tx: Tx) -> None:
                sessions.change(tx, self.id, SessionEvent.ready, reason="started", pid=engine.pid)
                if record.interrupted:
                    sessions.told(tx, self.id)

            await self.house.store.write(ready)
        self.used_at = trio.current_time()
        self.started.set()

    async def _gone(self, problem: Problem | None) -> None:
        if self.resident:
            reason = problem.name if problem else self._stop_reason
            await self._change(SessionEvent.gone, reason, problem)

    async def _change(self, event: SessionEvent, reason: str, problem: Problem | None = None) -> None:
        await persist(self.house.store, lambda tx: sessions.change(tx, self.id, event, reason=reason, problem=problem))

    async def _serve(self, nursery: trio.Nursery) -> None:
        """Do what is asked, one after another. The one under way when the child is gone is done to its end."""
        self._nursery = nursery
        while not self._over:
            letter: Letter[Any] | None = None
            with trio.CancelScope() as self._receiving:
                letter = await self._mail_out.receive()
            if letter is not None:
                await letter.open()

    def close(self) -> None:
        """The task is over: whoever still waits is told."""
        self.started.set()
        self.ended.set()
        while True:
            try:
                self._mail_out.receive_nowait().refuse(self.terminated())
            except (trio.WouldBlock, trio.EndOfChannel):
                break
        self._mail_out.close()

    async def _launch(self) -> Launch:
        """Everything the child needs, read before it is spawned."""
        house, record = self.house, self.house.record(self.id)
        engine = house.engine_settings(record.engine)
        await canonical(record.workspace, limiter=house.files, deadline=WORKSPACE_DEADLINE)
        own_env, saved, history, cut_off = await house.store.read(lambda conn: self._read(conn, record))
        env = {
            **own_env,
            **engine.env,
            **secrets(engine.env_from, os.environ),
            "ROOST_SESSION": self.id,
            "ROOST_DAEMON": house.socket,
        }
        return Launch(record, engine, env, saved, history, cut_off)

    def _read(self, conn: Any, record: Session) -> tuple[dict[str, str], bytes | None, list[Any], Any]:
        saved = checkpoints.load(conn, self.id, "latest")
        cut_off = None
        if record.interrupted:
            turn = reads.turn(conn, record.interrupted)
            cut_off = {"turn": turn.id, "number": turn.number, "input": turn.input, "reason": turn.reason or ""}
        history = reads.history(conn, self.id, HISTORY)
        return sessions.env(conn, self.id), saved[1] if saved else None, history, cut_off

    # --- jobs, run in the session's task one after another ---

    async def next_turn(self) -> RunningTurn | None:
        """Claim the first queued turn and have it run; None if there is none that may."""
        if self.turn is not None or self.stopping:
            return None
        turn = await self.house.store.write(lambda tx: turns.claim(tx, self.id))
        if turn is None:
            return None
        assert self.engine is not None
        settings = self.house.settings
        self.turn = RunningTurn(
            turn,
            self.engine,
            self.house.store,
            max_output=settings.limits.max_output,
            grace=settings.sessions.cancel_grace,
        )
        self.dirty = self.engine.saves
        if reason := self._cancels.pop(turn.id, None):
            self.turn.cancel(reason)
        self._nursery.start_soon(self._run_turn, self.turn)
        return self.turn

    async def _run_turn(self, running: RunningTurn) -> None:
        await running.run()
        if running.ended is not None and running.ended.engine_state is not None:
            self.dirty = False
        self._cancels.clear()
        self.used_at = trio.current_time()
        self.turn = None

    async def state(self) -> bytes:
        assert self.engine is not None
        return await self.engine.state()

    async def save(self, name: str = "latest") -> Checkpoint:
        """Take the engine's state and keep it; returns when it is on disk."""
        before = self.turn
        packed = await self.state()
        through = self.house.record(self.id).last_turn
        saved = await self.house.store.write(
            lambda tx: checkpoints.save(tx, self.id, name=name, state=packed, through_turn=through)
        )
        if name == "latest" and before is None and self.turn is None:
            self.dirty = False
        return saved

    async def clear(self) -> Session:
        if self.turn is not None:
            text = f"session {self.id} runs turn {self.turn.turn.id}; wait for it or cancel it first"
            raise SessionBusy(text, session=self.id, turn=self.turn.turn.id)
        assert self.engine is not None
        empty = await self.engine.clear()
        await self.house.store.write(lambda tx: checkpoints.clear(tx, self.id, empty))
        self.dirty = False
        return self.house.record(self.id)

    async def stop(self, reason: str, *, force: bool = False) -> None:
        """Cancel what runs, save the state, end the child. A state that cannot be saved is said, and lost."""
        self.stopping = True
        self._stop_reason = reason
        if self.resident:
            await self._change(SessionEvent.stop, reason)
        if running := self.turn:
            await self._cancel_running(running, force)
        if self.dirty and not force:
            await self._save_or_say()
        await self._end()

    async def unload(self, reason: str) -> bool:
        """Stop, if nothing runs and its state is saved first. False: not now."""
        if self.turn is not None or (self.house.record(self.id).queued and self.id in self.house.records.runnable):
            return False
        if self.dirty:
            await self.save()
        await self.stop(reason)
        return True

    async def _cancel_running(self, running: RunningTurn, force: bool) -> None:
        turn_id = running.turn.id
        await persist(self.house.store, lambda tx: turns.request_cancel(tx, turn_id, reason="user", author=None))
        running.cancel("user")
        if force and self.engine is not None:
            self.engine.kill()
        await running.done.wait()

    async def _save_or_say(self) -> None:
        try:
            await self.save()
        except RoostError as exc:
            log.warning("session %s: its state could not be saved: %s", self.id, exc)
            await self.say_unsaved(exc)

    async def say_unsaved(self, error: RoostError) -> None:
        data = {"name": "latest", "problem": problem_of(error).to_wire()}
        await self.house.store.write(lambda tx: tx.emit(self.id, "checkpoint.failed", data))

    async def _end(self) -> None:
        assert self.engine is not None
        await self.engine.end()

    # --- what its engine reports ---

    async def heard(self, change: Change | None) -> None:
        if self.turn is not None:
            await self.turn.recorder.add(change)

    async def spawned(self, identity: Identity) -> None:
        await self.house.store.write(lambda tx: children.spawned(tx, self.id, *identity))

    async def ended_child(self, identity: Identity) -> None:
        await persist(self.house.store, lambda tx: children.ended(tx, self.id, identity.pid))
