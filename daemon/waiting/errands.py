"""Things to be done one after another, by a task that is there only while one of them waits: idle ones cost memory."""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


Starter = Callable[[Callable[[], Awaitable[object]]], None]
"""Starts a task; ``Nursery.start_soon`` is one."""


class Errands(Generic[T]):
    """A bounded queue and an urgent one, and the task that empties both in their order, the urgent one first.

    Args:
        do: is given each, and waited for before the next one.
        room: how many wait; the task that brings one more waits itself.
    """

    def __init__(self, do: Callable[[T], Awaitable[object]], room: int) -> None:
        self._do = do
        self._room = room
        self._start: Starter | None = None
        self._closed = False
        self._urgent: list[T] = []
        self._waiting: tuple[trio.MemorySendChannel[T], trio.MemoryReceiveChannel[T]] | None = None

    async def put(self, errand: T) -> None:
        """Have it done after what was put before; returns as soon as there is room for it.

        Raises:
            trio.BrokenResourceError: it is closed, and nothing is done any more.
        """
        await self._queue()[0].send(errand)

    def put_first(self, errand: T) -> None:
        """Have it done before all that ``put`` brought, also when there is no room.

        Raises:
            trio.BrokenResourceError: it is closed, and nothing is done any more.
        """
        self._queue()
        self._urgent.append(errand)

    def _queue(self) -> tuple[trio.MemorySendChannel[T], trio.MemoryReceiveChannel[T]]:
        if self._closed:
            raise trio.BrokenResourceError
        if self._waiting is None:
            self._waiting = trio.open_memory_channel[T](self._room)
            if self._start is not None:
                self._start(self._run)
        return self._waiting

    def begin(self, start: Starter) -> None:
        """Do what waits, and what comes, in tasks that ``start`` starts."""
        self._start = start
        if self._waiting is not None:
            start(self._run)

    def finish(self) -> None:
        """Begin nothing more; what is being done is done to its end."""
        self._start = None

    @property
    def going(self) -> bool:
        """What is put is done."""
        return self._start is not None

    def close(self) -> list[T]:
        """Take nothing more. What was not begun."""
        self._start, self._closed = None, True
        left: list[T] = []
        while (errand := self._next()) is not None:
            left.append(errand)
        self._waiting = None
        return left

    def _next(self) -> T | None:
        if self._urgent:
            return self._urgent.pop(0)
        try:
            return None if self._waiting is None else self._waiting[1].receive_nowait()
        except trio.WouldBlock:
            return None

    async def _run(self) -> None:
        while self.going:
            errand = self._next()
            if errand is None:
                self._waiting = None
                return
            await self._do(errand)
