"""The sweepers: unload what is idle, re-arm what failed long ago, prune what retention no longer keeps."""

import logging
from collections.abc import Awaitable, Callable

import trio

from ...protocol.errors import SessionNotFound
from ..guard import guarded
from ..store import reads, retention
from .registry import Registry

log = logging.getLogger(__name__)


class Janitor:
    """Sweeps at once on start and then on period (S0.W4). What breaks one sweep does not end the next."""

    def __init__(self, registry: Registry) -> None:
        self.unloaded = 0
        self.deferred = 0
        self._registry = registry

    async def run(self) -> None:
        settings = self._registry.settings
        async with trio.open_nursery() as nursery:
            nursery.start_soon(every, settings.sessions.idle_sweep, "idle sweep", self.sweep_idle)
            nursery.start_soon(every, settings.sessions.idle_sweep, "re-arm sweep", self.sweep_failed)
            nursery.start_soon(every, settings.retention.sweep, "retention sweep", self.sweep_events)

    async def sweep_idle(self) -> None:
        """Unload what was idle too long; what cannot be saved stays and is tried again (S0.W1, S0.W6)."""
        for session_id in self._registry.idle_too_long(self._registry.settings.sessions.idle_unload):
            if await self._registry.unload(session_id, "idle"):
                self.unloaded += 1
            else:
                self.deferred += 1

    async def sweep_failed(self) -> None:
        for session_id in self._registry.failed_long_ago():
            await self._registry.rearm(session_id)

    async def sweep_events(self) -> None:
        """Remove what is beyond the limits of age and count, a session at a time."""
        limits = self._registry.settings.retention
        age = None if limits.max_age is None else round(limits.max_age * 1000)
        await self._prune(retention.prune, "", keep=limits.events_per_session, older_than_ms=age)
        for session in await self._registry.store.read(reads.all_sessions):
            if age is not None or session.seq > limits.events_per_session:
                await self._prune(retention.prune, session.id, keep=limits.events_per_session, older_than_ms=age)
            if session.turns > limits.turns_per_session:
                await self._prune(retention.prune_turns, session.id, keep=limits.turns_per_session)

    async def _prune(self, prune: Callable[..., int], session_id: str, **limits: int | None) -> None:
        """Piece by piece, so that what waits behind it waits for one piece only."""
        try:
            while await self._registry.store.write(lambda tx: prune(tx, session_id, **limits)):
                pass
        except SessionNotFound:
            return  # it was deleted meanwhile


async def every(period: float, name: str, sweep: Callable[[], Awaitable[None]]) -> None:
    """Run ``sweep`` at once and then each ``period`` seconds, for ever, guarded."""
    while True:
        await guarded(name, sweep)
        await trio.sleep(period)
