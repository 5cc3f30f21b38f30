"""The input of a child: whole frames in order, written by a task that is there only while there is a frame."""

from collections.abc import Awaitable, Callable

import trio

from ..waiting.errands import Errands, Starter

UNSENT = 100
"""Frames that wait for a child to read them."""


class Outlet:
    """The daemon's end of one pipe to a child.

    Args:
        deaf: is called once, when the child does not read any more.
    """

    def __init__(self, stream: trio.abc.SendStream, start: Starter, deaf: Callable[[], Awaitable[None]]) -> None:
        self._stream = stream
        self._deaf = deaf
        self._unsent = Errands[bytes](self._write, UNSENT)
        self._unsent.begin(start)

    async def send(self, frame: bytes) -> None:
        """Have it written after the frames before it, whole even if the caller gives up; returns when there is room.

        Raises:
            trio.BrokenResourceError: the child does not read any more, or this is closed.
        """
        await self._unsent.put(frame)

    async def finish(self) -> None:
        """Close the child's input behind the last frame. Raises what :meth:`send` does."""
        await self._unsent.put(b"")

    def close(self) -> None:
        """Write nothing more. The pipe itself is left to its owner."""
        self._unsent.close()

    async def _write(self, frame: bytes) -> None:
        try:
            if frame:
                await self._stream.send_all(frame)
            else:
                await self._stream.aclose()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._unsent.close()
            await self._deaf()
