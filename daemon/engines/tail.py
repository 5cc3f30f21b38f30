"""The last lines of what a child wrote to stderr."""

from collections import deque

import trio

KEPT_BYTES = 8192


class Tail:
    """A bounded end of a stream."""

    def __init__(self) -> None:
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
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
