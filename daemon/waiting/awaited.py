"""A change that tasks wait for."""

from collections.abc import Hashable
from typing import Generic, TypeVar

import trio

K = TypeVar("K", bound=Hashable)


class Change:
    """Something that changes again and again: each wait is for the next change."""

    def __init__(self) -> None:
        self._waiting = trio.lowlevel.ParkingLot()

    def tell(self) -> None:
        """It has changed: every task that waits goes on."""
        self._waiting.unpark_all()

    async def wait(self) -> None:
        """Until it changes. The task looks first and waits then, with no await between the two."""
        await self._waiting.park()


class Changes(Generic[K]):
    """A :class:`Change` for each key, there only while a task waits for it."""

    def __init__(self) -> None:
        self._waiting: dict[K, trio.lowlevel.ParkingLot] = {}

    def tell(self, key: K) -> None:
        """The thing of that name has changed."""
        if (waiting := self._waiting.pop(key, None)) is not None:
            waiting.unpark_all()

    def tell_all(self) -> None:
        """Any of them may have changed."""
        for key in tuple(self._waiting):
            self.tell(key)

    async def wait(self, key: K) -> None:
        """Until the thing of that name changes."""
        waiting = self._waiting.setdefault(key, trio.lowlevel.ParkingLot())
        try:
            await waiting.park()
        finally:
            if not waiting and self._waiting.get(key) is waiting:
                del self._waiting[key]
