"""The stop of all sessions: cancel what runs, save states in batches with a time limit each, then end the children."""

import logging
from collections.abc import Callable

import trio

from ...protocol.errors import RoostError, TimedOut
from ..core.batches import Report, Saved, split
from ..guard import guarded
from .registry import Registry
from .session import LiveSession

log = logging.getLogger(__name__)

ENDING = 15.0
"""Seconds the children of all batches have to end after they were saved, before they are only killed."""


class Shutdown:
    """One orderly stop.

    Attributes:
        hurry: set by a second SIGTERM: nothing more is waited for. progress: called at each step that was made.
    """

    def __init__(self, registry: Registry, reason: str, progress: Callable[[str], None]) -> None:
        self.report = Report(reason)
        self._registry = registry
        self._settings = registry.settings.checkpoints
        self._progress = progress
        self._hurried = False
        self._scopes: set[trio.CancelScope] = set()

    def hurry(self) -> None:
        """Wait for nothing more: what is not saved by now has timed out."""
        self._hurried = True
        for scope in self._scopes:
            scope.cancel()

    async def run(self) -> Report:
        """Returns when no child lives. Admission was closed before."""
        registry = self._registry
        registry.admitting = False
        registry.runner.stop()
        lives = list(registry.live.values())
        for live in lives:
            if live.turn is not None:
                live.turn.interrupt("daemon_shutdown")
                self.report.interrupted.append(live.turn.turn.id)
        resident = [live for live in lives if live.resident]
        self.report.sessions = len(resident)
        gate = trio.CapacityLimiter(self._settings.parallel_batches)
        deadline = trio.current_time() + registry.settings.daemon.stop_deadline - ENDING
        async with trio.open_nursery() as nursery:
            by_id = {live.id: live for live in resident}
            for ids in split(list(by_id), self._settings.batch):
                nursery.start_soon(self._batch, [by_id[session_id] for session_id in ids], gate, deadline)
            for live in lives:
                if not live.resident:
                    nursery.start_soon(self._end, live)
        return self.report

    async def _batch(self, lives: list[LiveSession], gate: trio.CapacityLimiter, deadline: float) -> None:
        async with gate:
            results: dict[str, Saved] = {}
            with trio.CancelScope() as scope:
                scope.deadline = min(trio.current_time() + self._settings.batch_timeout, deadline)
                self._scopes.add(scope)
                if self._hurried:
                    scope.cancel()
                async with trio.open_nursery() as nursery:
                    for live in lives:
                        nursery.start_soon(self._save, live, results)
            self._scopes.discard(scope)
            for live in lives:
                if live.id not in results:
                    results[live.id] = "timed_out"
                    await guarded(live.id, self._say, live, TimedOut("it did not hand over its state in time"))
            self.report.add_batch(results)
            self._progress(f"stopping: {self.report.saved} saved, {self.report.batches} batches settled")
            async with trio.open_nursery() as nursery:
                for live in lives:
                    nursery.start_soon(self._end, live)

    async def _save(self, live: LiveSession, results: dict[str, Saved]) -> None:
        dirty = live.dirty
        try:
            if live.turn is not None:
                await live.turn.done.wait()
            await live.started.wait()
            if live.dirty and not live.ended.is_set():
                await live.save()
        except RoostError as exc:
            log.error("session %s: its state could not be saved: %s", live.id, exc)
            await guarded(live.id, self._say, live, exc)
            results[live.id] = "failed"
        except Exception:
            log.exception("session %s: a bug while its state was saved", live.id)
            results[live.id] = "failed"
        else:
            results[live.id] = self._result(live, dirty)
        self._progress(f"stopping: {len(results)} of a batch settled")

    def _result(self, live: LiveSession, dirty: bool) -> Saved:
        if live.dirty:
            return "failed"  # its child died before it could be asked
        return "saved" if dirty else "unchanged"

    async def _say(self, live: LiveSession, error: RoostError) -> None:
        await live.say_unsaved(error)

    async def _end(self, live: LiveSession) -> None:
        """End the child; one that was settled as lost is not asked again, only ended."""
        live.stopping = True
        if live.engine is not None and not live.ended.is_set():
            lost = live.id in self.report.timed_out or self._hurried
            if lost:
                live.engine.kill()
            else:
                await guarded(live.id, live.engine.end)
        with trio.move_on_after(ENDING):
            await live.ended.wait()
        self._progress("stopping: ending children")
