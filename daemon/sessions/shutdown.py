"""The stop of all sessions: cancel what runs, save states in batches with a time limit each, then end the children."""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

import trio

from ...protocol.errors import RoostError, StorageGone, TimedOut
from ..core.batches import Report, Saved, split
from ..core.states import Life
from ..engines.engine import STUCK
from ..waiting.guard import guarded
from .session import LiveSession
from .supervisor import Supervisor

log = logging.getLogger(__name__)

ENDING = 15.0
"""Seconds the children of all batches have to end after they were saved, before they are only killed; half of the
deadline if that is less, so that the other half is left to save."""
SETTLING = 2.0
"""Seconds to write that a child has ended: on a disk that takes nothing, the next start sees to it."""


class Shutdown:
    """One orderly stop. Every wait in it has a deadline.

    Args:
        progress: called at each step that was made, with what to say of it.
    """

    def __init__(self, supervisor: Supervisor, reason: str, progress: Callable[[str], None]) -> None:
        self.report = Report(reason)
        self._supervisor = supervisor
        self._settings = supervisor.settings.checkpoints
        self._deadline = supervisor.settings.daemon.stop_deadline
        self._ending = min(ENDING, self._deadline / 2)
        self._progress = progress
        self._lost: dict[str, RoostError] = {}
        self._hurried = False
        self._scopes: set[trio.CancelScope] = set()

    def hurry(self) -> None:
        """Wait for nothing more: a session that is not saved by now has timed out."""
        self._hurried = True
        for scope in self._scopes:
            scope.cancel()

    @contextmanager
    def _until(self, deadline: float) -> Generator[None]:
        """A wait that ends then, or in a hurry."""
        with trio.move_on_at(deadline) as scope:
            if self._hurried:
                scope.cancel()
            self._scopes.add(scope)
            try:
                yield
            finally:
                self._scopes.discard(scope)

    async def run(self) -> Report:
        """Returns when no child lives. Nothing new is begun from its first step on."""
        registry = self._supervisor.registry
        registry.admitting = False
        self._supervisor.runner.stop()
        lives = list(registry.live.values())
        for live in lives:
            live.stop.interrupt("daemon_shutdown")
        resident = {live.id: live for live in lives if live.child.resident}
        self.report.sessions = len(resident)
        gate = trio.CapacityLimiter(self._settings.parallel_batches)
        deadline = trio.current_time() + self._deadline - self._ending
        async with trio.open_nursery() as nursery:
            for ids in split(list(resident), self._settings.batch):
                nursery.start_soon(self._batch, [resident[session_id] for session_id in ids], gate, deadline)
            for live in lives:
                if live.id not in resident:
                    nursery.start_soon(self._end, live)
        self.report.interrupted = [live.running.cut_off for live in lives if live.running.cut_off]
        return self.report

    async def _batch(self, lives: list[LiveSession], gate: trio.CapacityLimiter, deadline: float) -> None:
        results: dict[str, Saved] = {}
        async with gate:
            with self._until(min(trio.current_time() + self._settings.batch_timeout, deadline)):
                async with trio.open_nursery() as nursery:
                    for live in lives:
                        nursery.start_soon(self._save, live, results)
        for live in lives:
            if live.id not in results:
                results[live.id] = "timed_out" if live.state.dirty else "unchanged"
                if live.state.dirty:
                    self._lost[live.id] = TimedOut("it did not hand over its state in time")
        self.report.add_batch(results)
        self._progress(f"stopping: {self.report.saved} saved, {self.report.batches} batches settled")
        async with trio.open_nursery() as nursery:  # a session that hangs here delays no other batch
            for live in lives:
                nursery.start_soon(self._end, live)

    async def _save(self, live: LiveSession, results: dict[str, Saved]) -> None:
        changed = live.state.dirty
        try:
            if gone := self._supervisor.store.gone:
                raise StorageGone(f"{gone} is gone, so nothing can be saved", path=gone)
            if live.attended:  # a child that only starts has nothing to save
                changed = await live.ask(live.stop.wind_up, otherwise=changed)
        except RoostError as exc:
            if live.state.dirty:
                log.error("session %s: its state could not be saved: %s", live.id, exc)
                self._lost[live.id] = exc
        # A session whose child died before it could be asked has lost its changes.
        results[live.id] = "failed" if live.state.dirty else "saved" if changed else "unchanged"
        self._progress(f"stopping: {len(results)} of a batch settled")

    async def _end(self, live: LiveSession) -> None:
        """End the child; a child that was settled as lost is not asked again, only ended."""
        lost = self._lost.get(live.id)
        with self._until(trio.current_time() + self._ending):
            if lost is None:
                await guarded(live.id, self._ask_to_end, live)
            else:
                live.child.kill()
            if live.child.engine is not None and live.child.stuck_by is None:
                await live.child.engine.gone.wait()
        if live.life is not Life.over:
            live.child.kill()
        # However great the hurry, every session is settled, or the next start would have to guess.
        with trio.move_on_after(SETTLING):
            if lost is not None:
                await live.state.say_unsaved(lost)
            await live.wait_over()
        self._progress("stopping: ending children")

    async def _ask_to_end(self, live: LiveSession) -> None:
        with suppress(*STUCK):  # it has been said
            await live.child.end()
