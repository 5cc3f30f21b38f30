"""The sweepers: unload what is idle, re-arm what failed long ago, prune what retention no longer keeps."""

import logging
from collections.abc import Awaitable, Callable

import trio

from ...protocol.errors import RoostError, SessionNotFound
from ..store import Tx, reads, retention
from ..waiting.guard import guarded
from .supervisor import Supervisor

log = logging.getLogger(__name__)


class Janitor:
    """Sweeps at once on start and then on period. An error in a sweep does not end the next sweep."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def run(self) -> None:
        """For ever; with new settings the sweeps begin anew, so that these hold at once."""
        settings = self._supervisor.settings
        while True:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(every, settings.sessions.idle_sweep, "idle sweep", self.sweep_idle)
                nursery.start_soon(every, settings.sessions.idle_sweep, "re-arm sweep", self.sweep_failed)
                nursery.start_soon(every, settings.retention.sweep, "retention sweep", self.sweep_old)
                nursery.start_soon(every, settings.retention.sweep, "stderr sweep", self.sweep_stderr)
                await settings.wait_changed()
                nursery.cancel_scope.cancel()  # ends only their waiting: each piece of work has its own owner
            self._supervisor.runner.poke()  # more turns may run now

    async def sweep_idle(self) -> None:
        """Unload the sessions that were idle too long; a session that cannot be saved stays and is tried again."""
        unloaded: list[bool] = []
        async with trio.open_nursery() as nursery:  # a session that hangs keeps no other waiting
            for session_id in self._supervisor.registry.unloading.due(self._supervisor.settings.sessions.idle_unload):
                nursery.start_soon(guarded, f"unload of {session_id}", self._unload, session_id, unloaded)
        if unloaded:
            log.info("idle sweep: %d unloaded, %d deferred", unloaded.count(True), unloaded.count(False))

    async def _unload(self, session_id: str, unloaded: list[bool]) -> None:
        unloaded.append(await self._supervisor.registry.unloading.unload(session_id, "idle"))

    async def sweep_failed(self) -> None:
        """Let those be tried again that failed long ago."""
        for session_id in self._supervisor.restarts.failed_long_ago():
            try:
                await self._supervisor.rearm(session_id)
            except RoostError as exc:
                log.warning("session %s is not re-armed yet: %s", session_id, exc)

    async def sweep_old(self) -> None:
        """Remove events and ended turns beyond the limits, a piece at a time: other work waits for one piece."""
        store, limits = self._supervisor.store, self._supervisor.settings.retention
        keep, keep_turns = limits.events_per_session, limits.turns_per_session
        age = None if limits.max_age is None else round(limits.max_age * 1000)

        def prune(session_id: str) -> Callable[[Tx], int]:
            return lambda tx: retention.prune(tx, session_id, keep=keep, older_than_ms=age, keep_turns=keep_turns)

        for session_id in await store.read(lambda conn: retention.prunable(conn, keep, age, keep_turns)):
            try:
                while await store.write(prune(session_id)):
                    pass
            except SessionNotFound:
                continue  # it was deleted meanwhile

    async def sweep_stderr(self) -> None:
        """Remove what is kept of the stderr of sessions that are no more."""
        kept = await self._supervisor.launches.stderr.sessions()
        # In this order a session that was made meanwhile is none of them.
        for session_id in await self._supervisor.store.read(lambda conn: reads.unknown(conn, kept)):
            await self._supervisor.launches.stderr.remove(session_id)


async def every(period: float, name: str, sweep: Callable[[], Awaitable[None]]) -> None:
    """Run ``sweep`` at once and then each ``period`` seconds, for ever, guarded."""
    while True:
        await guarded(name, sweep)
        await trio.sleep(period)
