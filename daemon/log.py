"""The log on stderr. A journal, a pipe or a terminal that takes nothing costs lines, which are counted, and no time."""

import logging
import os
import select

PIECE = 4096
"""Bytes that can be written without waiting where a poll says that something can (PIPE_BUF)."""
PATIENCE = 0.05
"""Seconds that a reader who has kept up so far may be late."""


class Log(logging.Handler):
    """Writes each record at once, or not at all.

    Args:
        descriptor: where to.
    """

    def __init__(self, descriptor: int = 2) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._dropped = 0
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._dropped and self._write(f"{self._dropped} lines of this log were not taken by its reader"):
                self._dropped = 0
            if self._dropped or not self._write(self.format(record)):
                self._dropped += 1
        except Exception:
            self.handleError(record)

    def _write(self, text: str) -> bool:
        """Whether somebody takes it."""
        left = text.encode(errors="backslashreplace") + b"\n"
        while left:
            if not self._poll.poll(0 if self._dropped else PATIENCE * 1000):
                return False
            left = left[os.write(self._descriptor, left[:PIECE]) :]
        return True
