"""The stderr of a child: its last lines at hand, all of it handed on to the files that keep it."""

from .stderr import Keep

KEPT_BYTES = 8192


class Tail:
    """A bounded end of a stream.

    Args:
        keep: is given each piece, and is awaited before the next piece is read.
    """

    def __init__(self, keep: Keep | None = None) -> None:
        self._keep = keep
        self._last = b""

    def add(self, piece: bytes) -> None:
        self._last = (self._last + piece)[-KEPT_BYTES:]

    def text(self) -> str:
        text = self._last.decode("utf-8", "replace")
        return text.encode()[-KEPT_BYTES:].decode(errors="ignore")  # a replaced byte takes three times its room

    async def take(self, piece: bytes) -> None:
        """Add the piece, and hand it on."""
        self.add(piece)
        if self._keep is not None and piece:
            await self._keep(piece)
