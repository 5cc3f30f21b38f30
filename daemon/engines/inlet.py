"""What a child writes into one pipe, read by a task that is there only while there is something to read."""

import os
from collections.abc import Awaitable, Callable
from typing import Self

import trio

from ..process.watch import Watch
from ..waiting.errands import Starter

PIECE = 65536
"""Bytes that are read at once."""


class Inlet:
    """Our end of one pipe, read until it ends, as long as this is entered. The pipe itself is left to its owner.

    Args:
        start: starts a task.
        take: is given each piece, b"" at the pipe's end, and waited for before the next one; True: it wants no more.
        soon: says that the next piece will come soon, and a task had better wait for it.
    """

    def __init__(
        self,
        descriptor: int,
        watch: Watch,
        start: Starter,
        take: Callable[[bytes], Awaitable[bool | None]],
        soon: Callable[[], bool] = lambda: False,
    ) -> None:
        self._ended = False
        self._awaited: trio.Event | None = None
        self._descriptor = descriptor
        self._watch = watch
        self._start = start
        self._take = take
        self._soon = soon
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
        if not self._ended:
            self._awaited = self._awaited or trio.Event()
            await self._awaited.wait()

    def _end(self) -> None:
        self._ended = True
        if self._awaited is not None:
            self._awaited.set()

    def _listen(self) -> None:
        if self._open:
            self._watch.when_readable(self._descriptor, self._begin)

    def _begin(self) -> None:
        self._start(self._read)

    async def _read(self) -> None:
        piece = self._now()
        while piece is not None or self._soon():
            if piece is None:
                await trio.lowlevel.wait_readable(self._descriptor)
            elif await self._take(piece) or not piece:
                self._end()
                return
            else:
                await trio.lowlevel.checkpoint()  # else a child that never pauses would stop all others
            piece = self._now()
        self._listen()

    def _now(self) -> bytes | None:
        """What is there; None: nothing yet."""
        try:
            return os.read(self._descriptor, PIECE)
        except BlockingIOError:
            return None
