"""One running turn: its engine, its recorder, its limits, its waits, its cancel, and its end in one commit."""

import logging

import trio

from ...protocol.errors import InternalError, OutcomeUnknown, RoostError
from ...protocol.model import DeadlineAuthor, Problem, Turn, TurnState
from ..core.states import TURN
from ..engines.engine import Ended, Engine, problem
from ..store import Store, Tx, sessions, turns
from ..waiting.awaited import Once
from .places import Places
from .recorder import Recorder, persist
from .waits import Waits

log = logging.getLogger(__name__)


async def claimed(store: Store, session_id: str) -> Turn | None:
    """The session's first queued turn, running from now on; None if there is none that may."""

    def claim(tx: Tx) -> Turn | None:
        if turn := turns.claim(tx, session_id):
            sessions.told(tx, session_id)  # with its first turn its engine learns what was cut off
        return turn

    def looked_up(tx: Tx) -> Turn | None:
        running = tx.session(session_id).turn
        return tx.turn(running) if running else claim(tx)

    try:
        return await store.write(claim)
    except OutcomeUnknown:
        return await persist(store, looked_up)  # else it might be running, and no task would run it


class _Cancel:
    """That the turn is to end early, and why."""

    def __init__(self) -> None:
        self.asked = Once()
        self.reason = ""


class RunningTurn:
    """A turn that was claimed. ``run`` returns when its end is on disk."""

    def __init__(
        self, turn: Turn, engine: Engine, store: Store, places: Places, *, max_output: int, grace: float
    ) -> None:
        self.turn = turn
        """As it was claimed, and once it is done as it ended."""
        self.recorder = Recorder(store, turn.id, max_output)
        self.done = Once()
        """Its end is on disk, or what should have written it has failed."""
        self.ended: Ended | None = None
        """The answer of its engine."""
        self.waits = Waits(turn, self.recorder, places)
        self._engine = engine
        self._store = store
        self._grace = grace
        self._cancel = _Cancel()
        self._expired: Problem | None = None
        self._interrupted: str | None = None
        self._engine_scope = trio.CancelScope()

    def cancel(self, reason: str) -> None:
        """End it early; that it was asked is on disk. The first reason stays."""
        if not self._cancel.asked.is_set():
            self._cancel.reason = reason
            self._cancel.asked.set()
            self.waits.end()

    def interrupt(self, reason: str) -> None:
        """The daemon stops: the child is asked, and after its grace the turn ends without its answer."""
        if self.ended is None:
            self._interrupted = reason
            self.cancel(reason)

    async def run(self) -> None:
        begun = trio.current_time()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.recorder.run)
                async with trio.open_nursery() as watchers:
                    watchers.start_soon(self._obey)
                    watchers.start_soon(self._limit, begun)
                    watchers.start_soon(self._give_up)
                    watchers.start_soon(self.waits.run)
                    with self._engine_scope:
                        self.ended = await self._engine_run()
                    watchers.cancel_scope.cancel()
                self.waits.end()
                self.recorder.close()
            ended = self.ended or Ended(TurnState.interrupted)
            duration = round((trio.current_time() - begun) * 1000)
            self.turn = await persist(self._store, lambda tx: self._end(tx, ended, duration))
        finally:
            self.done.set()

    async def _engine_run(self) -> Ended:
        try:
            return await self._engine.run(self.turn)
        except Exception as exc:
            log.exception("turn %s: a bug in its engine", self.turn.id)
            self._engine.kill()
            bug = InternalError(f"a bug in roostd ended this turn: {exc!r}; please report it with the log")
            return Ended(TurnState.failed, problem(bug))

    async def _obey(self) -> None:
        """Ask the engine to end the turn; an engine that does not within its grace is ended."""
        await self._cancel.asked.wait()
        with trio.move_on_after(self._grace):
            await self.waits.wait_ended()  # first: a child that blocks in its question answers no cancel
            try:
                await self._engine.cancel(self.turn, self._cancel.reason)
            except RoostError as exc:
                log.info("turn %s: its child did not take the cancel: %s", self.turn.id, exc)
            await trio.sleep_forever()
        if self._interrupted:
            self._engine_scope.cancel()  # the child is still wanted: its state is to be saved
        else:
            self._engine.kill()

    async def _give_up(self) -> None:
        """The turn ends when its output can no longer be kept."""
        while self.recorder.problem is None:
            await self.recorder.written.wait()
        self.cancel("internal")

    async def _limit(self, begun: float) -> None:
        """Cancel it when it runs too long, or when its child is silent too long and waits for no answer."""
        turn = self.turn
        latest = begun + turn.timeout / 1000 if turn.timeout else float("inf")
        while True:
            silent = float("inf")
            if turn.idle_timeout and not self.waits.waiting:
                silent = self.recorder.sign_at + turn.idle_timeout / 1000
            if (first := min(latest, silent)) <= trio.current_time():
                break
            with trio.move_on_at(first):
                await self.waits.changed.wait()
        which = "timeout" if latest <= silent else "idle_timeout"
        text = {
            "timeout": f"the turn ran longer than its timeout of {turn.timeout} ms",
            "idle_timeout": f"the turn's child was silent for longer than its idle_timeout of {turn.idle_timeout} ms",
        }[which]
        self._expired = Problem(name="timed_out", message=text, data={"limit": which})
        by = DeadlineAuthor(limit=which)
        await persist(self._store, lambda tx: turns.request_cancel(tx, turn.id, reason="timeout", author=by))
        self.cancel("timeout")

    def _end(self, tx: Tx, ended: Ended, duration: int) -> Turn:
        """Done twice is done once: it looks first."""
        now = tx.turn(self.turn.id)
        if TURN.terminal(now.state):
            return now
        state, reason, why = self._verdict(now, ended)
        return turns.end(
            tx,
            now.id,
            state=state,
            reason=reason,
            problem=why,
            exit_code=ended.exit_code,
            duration=duration,
            engine_state=ended.engine_state,
            alive=self._engine.resident and not self._engine.gone.is_set(),
        )

    def _verdict(self, now: Turn, ended: Ended) -> tuple[TurnState, str | None, Problem | None]:
        """The state, the reason and the problem. A turn that roost cancelled is cancelled, whatever its engine said."""
        if now.cancelling:
            return TurnState.cancelled, now.cancelling, self._expired if now.cancelling == "timeout" else None
        if self._interrupted:
            return TurnState.interrupted, self._interrupted, None
        if lost := self.recorder.problem:
            return TurnState.failed, lost.wire_name, problem(lost)
        reason = ended.problem.name if ended.problem else None
        if ended.state is TurnState.cancelled:
            reason = reason or "engine"
        return ended.state, reason, ended.problem
