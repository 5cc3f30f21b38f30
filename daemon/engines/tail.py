"""What a child writes to stderr: its last lines at hand, all of it handed on to where it is kept."""

from collections import deque

import trio

from .stderr import Keep

KEPT_BYTES = 8192


class Tail:
    """A bounded end of a stream.

    Args:
        keep: is given each piece that is read, and waited for before the next one is.
    """

    def __init__(self, keep: Keep | None = None) -> None:
        self._keep = keep
        self._pieces: deque[bytes] = deque()
        self._size = 0

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece[-KEPT_BYTES:])
        self._size += len(self._pieces[-1])
        while self._size - len(self._pieces[0]) >= KEPT_BYTES:
            self._size -= len(self._pieces.popleft())

    def text(self) -> str:
        return b"".join(self._pieces)[-KEPT_BYTES:].decode("utf-8", "replace")

    async def fill(self, stream: trio.abc.ReceiveStream) -> None:
        """Read ``stream`` to its end."""
        try:
            while piece := await stream.receive_some(65536):
                self.add(bytes(piece))
                if self._keep is not None:
                    await self._keep(bytes(piece))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
