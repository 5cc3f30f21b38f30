"""Children start a few at a time: all at once they would all be ready late, and all that wait need memory."""

import trio

AT_ONCE = 16
PATIENCE = 5.0
"""Seconds after which one starts anyway: those before it may hang."""


class Starts:
    """Places for those that start."""

    def __init__(self, at_once: int = AT_ONCE, patience: float = PATIENCE) -> None:
        self._places = trio.CapacityLimiter(at_once)
        self._patience = patience
        self._placed: set[object] = set()

    async def begin(self, who: object) -> None:
        """Wait for a place, but not long."""
        with trio.move_on_after(self._patience):
            await self._places.acquire_on_behalf_of(who)
            self._placed.add(who)

    def done(self, who: object) -> None:
        """It has started, or has given up; said twice, it is said once."""
        if who in self._placed:
            self._placed.discard(who)
            self._places.release_on_behalf_of(who)
