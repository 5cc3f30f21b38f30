"""What a child writes to stderr: its last lines at hand, all of it handed on to where it is kept."""

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
        self._last = b""

    def add(self, piece: bytes) -> None:
        self._last = (self._last + piece)[-KEPT_BYTES:]

    def text(self) -> str:
        text = self._last.decode("utf-8", "replace")
        return text.encode()[-KEPT_BYTES:].decode(errors="ignore")  # what is replaced takes three times its room

    async def take(self, piece: bytes) -> None:
        """Add it, and hand it on."""
        self.add(piece)
        if self._keep is not None and piece:
            await self._keep(piece)

    async def fill(self, stream: trio.abc.ReceiveStream) -> None:
        """Read ``stream`` to its end."""
        try:
            while piece := await stream.receive_some(65536):
                await self.take(bytes(piece))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
