"""The three pipes of one child as one thing: pieces of stdout, frames for stdin, the end of stderr."""

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Self

from ..waiting.errands import Starter
from .inlet import Inlet, Take
from .outlet import Outlet
from .spawn import Child
from .stderr import Keep
from .tail import Tail
from .watch import Watch


async def _ignored() -> None:
    pass


class Stdio:
    """Reads as long as it is entered. No task of it lives while nothing happens.

    Args:
        start: starts a task, in a nursery that outlives this.
        take: is given each piece of stdout, see :data:`Take`: a child that writes faster waits for its own pipe.
        deaf: is called once, when the child does not read its stdin any more.
        keep: takes each piece of stderr.
    """

    def __init__(
        self,
        child: Child,
        watch: Watch,
        start: Starter,
        take: Take,
        *,
        deaf: Callable[[], Awaitable[None]] = _ignored,
        keep: Keep | None = None,
    ) -> None:
        self._child = child
        self._tail = Tail(keep)
        self._out = Inlet(child.descriptors[1], watch, start, take)
        self._err = Inlet(child.descriptors[2], watch, start, self._tail.take)
        self._in = Outlet(child.stdin, start, deaf)
        self._reading = ExitStack()

    def __enter__(self) -> Self:
        self._reading.enter_context(self._out)
        self._reading.enter_context(self._err)
        return self

    def __exit__(self, *_: object) -> None:
        self._in.close()
        self._reading.close()

    async def send(self, frame: bytes) -> None:
        """See :meth:`Outlet.send`."""
        await self._in.send(frame)

    async def finish(self) -> None:
        """See :meth:`Outlet.finish`."""
        await self._in.finish()

    async def drained(self) -> None:
        """Until the child has ended and its output is read; a pipe that stays open delays that by ``DRAIN`` seconds."""
        await self._child.drained(self._out, self._err)

    def stderr(self) -> str:
        """The last lines of the child's stderr."""
        return self._tail.text()
