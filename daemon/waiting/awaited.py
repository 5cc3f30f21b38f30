"""What tasks wait for: a thing that happens once, and one that changes again and again."""

from collections.abc import Generator, Hashable
from contextlib import contextmanager
from typing import Generic, TypeVar

import trio

K = TypeVar("K", bound=Hashable)


class Once:
    """Something that happens once: a start, an end."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def set(self) -> None:
        """It has happened: every task that waits goes on. Twice is once."""
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    async def wait(self) -> None:
        """Until it happens; at once if it has."""
        await self._event.wait()


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
    """The next change of each of many things, by its key."""

    def __init__(self) -> None:
        self._waiting: dict[K, set[trio.Event]] = {}

    def tell(self, key: K) -> None:
        """The thing of that key has changed."""
        for event in self._waiting.pop(key, ()):
            event.set()

    def tell_all(self) -> None:
        """Any of them may have changed."""
        for key in tuple(self._waiting):
            self.tell(key)

    @contextmanager
    def next(self, key: K) -> Generator[trio.Event]:
        """Set at the first change from when this is entered: the task enters, looks, and waits then."""
        event = trio.Event()
        waiting = self._waiting.setdefault(key, set())
        waiting.add(event)
        try:
            yield event
        finally:
            waiting.discard(event)
            if not waiting and self._waiting.get(key) is waiting:
                del self._waiting[key]
