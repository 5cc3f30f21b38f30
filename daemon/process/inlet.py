"""The output of a child in one pipe, read by a task that is there only while there is something to read."""

import os
from collections.abc import Awaitable, Callable
from typing import Self

import trio

from ..waiting.awaited import Once
from ..waiting.errands import Starter
from .watch import Watch

PIECE = 65536
"""Bytes that are read at once."""

Take = Callable[[bytes], Awaitable[bool | None]]
"""Is given each piece, b"" at the pipe's end, and is awaited before the next piece is read; True: it wants no more."""


class Inlet:
    """The daemon's end of one pipe, read until it ends, as long as this is entered. Its owner closes the pipe.

    Args:
        start: starts a task.
    """

    def __init__(self, descriptor: int, watch: Watch, start: Starter, take: Take) -> None:
        self._ended = Once()
        self._descriptor = descriptor
        self._watch = watch
        self._start = start
        self._take = take
        self._open = False

    def __enter__(self) -> Self:
        os.set_blocking(self._descriptor, False)
        self._open = True
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._open = False
        self._watch.forget(self._descriptor)

    async def wait_ended(self) -> None:
        """Until nothing more will be read."""
        await self._ended.wait()

    def _listen(self) -> None:
        if self._open:
            self._watch.when_readable(self._descriptor, self._begin)

    def _begin(self) -> None:
        self._start(self._read)

    async def _read(self) -> None:
        while (piece := self._now()) is not None:
            if await self._take(piece) or not piece:
                self._ended.set()
                return
            await trio.lowlevel.checkpoint()  # else a child that never pauses would stop all others
        self._listen()

    def _now(self) -> bytes | None:
        """The bytes that are there; None: nothing yet."""
        try:
            return os.read(self._descriptor, PIECE)
        except BlockingIOError:
            return None
