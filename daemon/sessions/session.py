"""A live session: one task, one nursery, one child. What is asked of it waits in a bounded mailbox, in order."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import trio

from ...protocol.errors import OutcomeUnknown, RoostError, SessionBusy, WorkerExited, from_wire
from ...protocol.model import Checkpoint, Limits, Problem, SessionState, TurnState
from ..core.said import Change
from ..core.states import SessionEvent
from ..engines.engine import STUCK, Engine, Launch
from ..process.proc import Identity
from ..store import Tx, checkpoints, children, queue, sessions, turns
from ..waiting.mailbox import Mailbox
from .house import House, problem_of
from .launch import prepared
from .recorder import persist
from .turn import RunningTurn, claimed
from .waiters import Waiters

log = logging.getLogger(__name__)

T = TypeVar("T")

_STOPPABLE = (SessionState.ready, SessionState.busy, SessionState.waiting)


class LiveSession:
    """Owner of one session's child and running turn."""

    def __init__(self, house: House, session_id: str) -> None:
        self.id = session_id
        self.house = house
        self.started = trio.Event()
        """It is ready, or will never be."""
        self.ready = False
        """It was started."""
        self.ended = trio.Event()
        """Its task is over: no known pid of it lives."""
        self.failure: RoostError | None = None
        """Why it did not start, or why its child died."""
        self.stopping = False
        """It takes no more turns and will end."""
        self.dirty = False
        """The engine's state may have changed since it was last saved."""
        self.unsaved: Problem | None = None
        """Why its stop could not save the state."""
        self.turn: RunningTurn | None = None
        self.cut_off: str | None = None
        """The turn that the daemon's stop interrupted."""
        self.used_at = trio.current_time()
        self.engine: Engine | None = None
        self._through: str | None = None
        """The last turn that the engine's state holds."""
        self._limits = Limits()
        """Of its last child."""
        self._cancels: dict[str, str] = {}
        self._stop_reason = "stopped"
        self._interrupted: str | None = None
        self._preparing = trio.CancelScope()
        self._mailbox = Mailbox(f"session {session_id}", self._terminated)
        self.ask, self.ask_first = self._mailbox.ask, self._mailbox.ask_first
        self._waiters = Waiters(self.ended)
        self.unless_stuck = self._waiters.unless_stuck
        self._nursery: trio.Nursery

    # --- what the supervisor calls ---

    def _terminated(self) -> RoostError:
        return self.failure or WorkerExited("the session's child has ended; try again to start it", session=self.id)

    def cancel(self, turn_id: str, reason: str) -> None:
        """The cancel of ``turn_id`` is on disk: carry it out, also when the turn is just being claimed."""
        if self.turn is not None and self.turn.turn.id == turn_id:
            self.turn.cancel(reason)
        else:
            self._cancels[turn_id] = reason

    def interrupt(self, reason: str) -> None:
        """The daemon stops: begin no turn any more, and end the one that runs."""
        self.stopping = True
        self._interrupted = reason
        self._preparing.cancel()
        if self.turn is not None:
            self.turn.interrupt(reason)

    async def stop_now(self) -> None:
        """End the child without asking it: no job, for one that hangs must not keep this waiting."""
        running = await self._announce_stop("user")
        self.stopping, self._stop_reason = True, "user"
        self._preparing.cancel()
        self.dirty = False  # given up by who forced it
        if running is not None:
            self.cancel(running, "user")
        self.kill()
        await self.end()

    def kill(self) -> None:
        if self.engine is not None:
            self.engine.kill()

    async def end(self) -> None:
        """Ask the child to end, then make it."""
        if self.engine is not None:
            try:
                await self.engine.end()
            except STUCK as exc:
                await self.stuck(exc)
                raise

    @property
    def stuck_by(self) -> RoostError | None:
        """What of it does not end although it was killed."""
        return self._waiters.stuck_by

    @property
    def busy(self) -> bool:
        return self.turn is not None or not self.started.is_set()

    @property
    def resident(self) -> bool:
        return self.engine is not None and self.engine.resident

    @property
    def serving(self) -> bool:
        """Its child is there and what is asked of it is done."""
        return self.ready and self.engine is not None and not self.engine.gone.is_set()

    # --- its task ---

    async def run(self) -> None:
        """From the spawn to the end of the child."""
        engine: Engine | None = None
        try:
            if engine := await self._prepared():
                await self._live(engine)
        except RoostError as exc:
            self.failure = exc
        finally:
            self.house.starts.done(self)
        if self.failure is None and engine is not None and engine.problem is not None:
            self.failure = from_wire(engine.problem.to_wire())
        await self._gone(None if self.failure is None or self.stopping else problem_of(self.failure))

    async def _prepared(self) -> Engine | None:
        """Its engine, about to start a child; None if it is to stop already."""
        launch: Launch | None = None
        with self._preparing:
            found = await self._launch()
            await self.house.starts.begin(self)
            launch = found
        if launch is None:
            return None
        engine = self.house.engine(launch, self)
        if engine.resident:
            start = SessionEvent.start
            await self.house.store.write(lambda tx: sessions.change(tx, self.id, start, reason="needed"))
        if self.stopping:
            return None
        self.engine, self._through = engine, launch.session.through_turn
        return engine

    async def _launch(self) -> Launch:
        """With the settings and secrets of now."""
        launch = await prepared(self.house, self.house.record(self.id))
        return launch._replace(limits=partial(self._limits_of, launch), again=self._launch)

    async def _live(self, engine: Engine) -> None:
        """Start the child and do what is asked, as long as it lives."""
        failure: RoostError | None = None
        async with trio.open_nursery() as self._nursery:
            try:
                await engine.serve(partial(self._ready, engine))
                if self.turn is not None:
                    await self.turn.done.wait()
            except RoostError as exc:
                failure = exc
                self._nursery.cancel_scope.cancel()
            finally:
                self._mailbox.finish()
        if failure is not None:
            raise failure

    async def _ready(self, engine: Engine) -> None:
        if engine.resident:
            ready, pid = SessionEvent.ready, engine.pid
            await self.house.store.write(lambda tx: sessions.change(tx, self.id, ready, reason="started", pid=pid))
        self.used_at = trio.current_time()
        self.ready = True
        self._mailbox.begin(self._nursery.start_soon)
        self.started.set()
        self.house.starts.done(self)

    async def _gone(self, problem: Problem | None) -> None:
        reason = problem.name if problem else self._stop_reason

        def gone(tx: Tx) -> None:
            if tx.session(self.id).state not in (SessionState.idle, SessionState.failed):
                sessions.change(tx, self.id, SessionEvent.gone, reason=reason, problem=problem)

        # Who waits for a start that has failed need not wait for a full disk.
        await persist(self.house.store, gone, delayed=self.started.set)

    def close(self) -> None:
        """The task is over: whoever still waits is told."""
        if self.turn is not None:
            self.turn.done.set()  # a bug cut it off: it is settled, and nobody may wait for it
        self.started.set()
        self.ended.set()
        self._mailbox.close()

    # --- jobs, run in the session's task one after another ---

    async def next_turn(self) -> RunningTurn | None:
        """Claim the first queued turn and have it run; None if there is none that may."""
        if self.turn is not None or self.stopping:
            return self.turn
        turn = await claimed(self.house.store, self.id)
        if turn is None:
            return None
        assert self.engine is not None
        limit, grace = self.house.settings.limits.max_output, self.house.settings.sessions.cancel_grace
        running = self.turn = RunningTurn(turn, self.engine, self.house.store, max_output=limit, grace=grace)
        self.dirty = self.engine.saves
        if reason := self._cancels.pop(turn.id, None):
            running.cancel(reason)
        if self._interrupted:  # the daemon's stop has begun meanwhile
            running.interrupt(self._interrupted)
        self._nursery.start_soon(self._run_turn, running)
        return running

    async def _run_turn(self, running: RunningTurn) -> None:
        await running.run()
        if running.ended is not None:
            self._through = running.turn.id
            if running.ended.engine_state is not None:
                self.dirty = False
            if not self.resident:  # else its child is the session's, whatever a turn says
                self._waiters.free()
        if running.turn.state is TurnState.interrupted:
            self.cut_off = running.turn.id
        self._cancels.clear()
        self.used_at = trio.current_time()
        self.turn = None

    async def told_state(self) -> tuple[bytes, str | None]:
        """A packed copy of the engine's state, and the last turn that it holds."""
        assert self.engine is not None
        state, answered = await self.engine.state()
        if self.turn is not None and self.turn.turn.id == answered:  # its end may not be on disk yet
            return state, answered
        return state, self._through

    async def save(self, name: str = "latest") -> Checkpoint:
        """Take the engine's state and keep it; returns when it is on disk."""
        before = self.turn
        packed, through = await self.told_state()
        saved = await self.house.store.write(
            lambda tx: checkpoints.save(tx, self.id, name=name, state=packed, through_turn=through)
        )
        if name == "latest" and before is None and self.turn is None:
            self.dirty = False
        return saved

    async def clear(self) -> bool:
        """Empty the state, here and where it is saved; always True."""
        if self.turn is not None:
            text = f"session {self.id} runs turn {self.turn.turn.id}; wait for it or cancel it first"
            raise SessionBusy(text, session=self.id, turn=self.turn.turn.id)
        assert self.engine is not None
        self.dirty = self.engine.saves  # it may be cleared though it does not say so in time
        empty = await self.engine.clear()
        await self.house.store.write(lambda tx: checkpoints.clear(tx, self.id, empty))
        self.dirty, self._through = False, self.house.record(self.id).through_turn
        return True

    async def stop(self, reason: str) -> None:
        """Cancel what runs, save the state, end the child. A state that cannot be saved is said, and lost."""
        if self.stopping:
            return
        await self._announce_stop(reason)
        self.stopping, self._stop_reason = True, reason
        try:
            if self.turn is not None:
                self.turn.cancel("user")
                await self.turn.done.wait()
            if self.dirty:
                await self._save_or_say()
        finally:
            await self.end()

    async def _announce_stop(self, reason: str) -> str | None:
        """The turn that runs, and is to be cancelled; it may be just being claimed."""

        def announce(tx: Tx) -> str | None:
            if self.resident and tx.session(self.id).state in _STOPPABLE:
                sessions.change(tx, self.id, SessionEvent.stop, reason=reason)
            if running := tx.session(self.id).turn:
                turns.request_cancel(tx, running, reason="user", author=None)
            if reason == "user":  # else the next turn would start the child again
                queue.hold(tx, tx.session(self.id), "stopped")
            return running

        try:
            return await self.house.store.write(announce)
        except OutcomeUnknown as exc:  # it is wanted all the same
            log.warning("session %s: that it stops may not be on disk: %s", self.id, exc)
            return self.turn.turn.id if self.turn else None

    async def unload(self, reason: str) -> bool:
        """Stop, if nothing runs and its state is saved first. False: not now."""
        waiting = self.house.record(self.id).queued and self.id in self.house.records.runnable
        if self.stopping or self.turn is not None or waiting:
            return False
        if self.dirty:
            await self.save()
        await self.stop(reason)
        return True

    async def wind_up(self) -> bool:
        """The daemon stops: what runs ends, and the state is saved. Whether there was one to save."""
        changed = self.dirty
        if self.turn is not None:
            await self.turn.done.wait()
        if self.dirty:
            await self.save()
        return changed

    async def _save_or_say(self) -> None:
        try:
            await self.save()
        except RoostError as exc:
            log.warning("session %s: its state could not be saved: %s", self.id, exc)
            self.unsaved = problem_of(exc)
            await self.say_unsaved(exc)

    async def say_unsaved(self, error: RoostError) -> None:
        """Never raises: it is in the log too."""
        data = {"name": "latest", "problem": problem_of(error).to_wire()}
        try:
            await self.house.store.write(lambda tx: tx.emit(self.id, "checkpoint.failed", data))
        except RoostError as exc:
            log.warning("session %s: that its state is lost is not on disk: %s", self.id, exc)

    # --- what its engine reports ---

    async def said(self, change: Change | None) -> None:
        if self.turn is not None:
            await self.turn.recorder.add(change)

    async def waiting(self, answer: Callable[[], Awaitable[T]]) -> T:
        return await answer()

    def _limits_of(self, launch: Launch) -> Limits:
        self._limits = self.house.limits(self.id, launch.engine)
        return self._limits

    async def spawned(self, identity: Identity) -> None:
        missing = self.house.processes.unenforced(self._limits)

        def spawned(tx: Tx) -> None:
            children.keeps(tx, self.house.keeper)
            children.spawned(tx, self.id, *identity)
            if missing:
                data = {"limits": missing, "reason": self.house.processes.cgroups.message}
                tx.emit(self.id, "session.limits_unenforced", data)

        await self.house.store.write(spawned)

    async def stuck(self, error: RoostError) -> None:
        if not self._waiters.tell(error):  # once is enough: the next look may find others, of those that fork on and on
            return
        log.error("session %s: %s", self.id, error)
        pids: list[int] = error.data.get("pids", [])
        try:
            await self.house.store.write(lambda tx: tx.emit(self.id, "session.processes_left", {"pids": pids}))
        except RoostError as exc:
            log.warning("session %s: that it has such processes is not on disk: %s", self.id, exc)

    async def ended_child(self, identity: Identity) -> None:
        try:
            await self.house.store.write(lambda tx: children.ended(tx, self.id, identity.pid))
        except RoostError as exc:
            # The next daemon looks for it in vain: its start time proves that it is another one.
            log.warning("session %s: that its child %d has ended is not on disk: %s", self.id, identity.pid, exc)
