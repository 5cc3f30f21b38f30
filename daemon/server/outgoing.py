"""Bytes on their way to a client: sent at once if the socket takes them, kept in bounds if not."""

import logging
import socket
from collections.abc import Callable

import trio

from ..waiting.awaited import Change

log = logging.getLogger(__name__)

UNSENT = 1024 * 1024
"""Bytes a client may leave unread before nothing more is done for it."""
STALLED = 86400.0
"""Seconds that a client's socket may stay full: a client may stop, not keep its place for ever."""


class Outgoing:
    """The bytes that a client has not taken yet.

    Args:
        sock: connected, not blocking.
        start_writer: have a task run :meth:`write`; called when the socket is full.
        on_broken: the client is gone; called once.
    """

    def __init__(self, sock: socket.socket, start_writer: Callable[[], None], on_broken: Callable[[], None]) -> None:
        self.size = 0
        """Bytes not sent."""
        self.blocked = False
        """The socket is full and the writer waits for it."""
        self._sock = sock
        self._start_writer = start_writer
        self._on_broken = on_broken
        self._chunks: list[bytes | memoryview] = []
        self._waiting = Change()

    def put(self, data: bytes) -> None:
        """Keep ``data`` for the next :meth:`flush`: the bytes put before it are sent together."""
        self._chunks.append(data)
        self.size += len(data)

    def flush(self) -> None:
        """Send as much as the socket takes now; the writer sends the rest."""
        if self._chunks and not self.blocked and not self._send():
            self.blocked = True
            self._start_writer()

    def _send(self) -> bool:
        """Whether all is sent (or the client is gone)."""
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lose()
            return True
        if sent == len(data):
            self._forget()
            return True
        self._chunks = [memoryview(data)[sent:]]
        self.size = len(data) - sent
        return False

    def _lose(self) -> None:
        self._forget()
        self._on_broken()

    def _forget(self) -> None:
        self._chunks = []
        self.size = 0

    async def write(self) -> None:
        """Send the rest as the client takes it, and wake the tasks that wait for room; cut off a client that stalls."""
        while self.blocked:
            with trio.move_on_after(STALLED) as waiting:
                await trio.lowlevel.wait_writable(self._sock)
            if waiting.cancelled_caught:
                log.warning("a client has taken nothing of %d bytes for %g s and is cut off", self.size, STALLED)
                self._lose()
            self.blocked = not (waiting.cancelled_caught or self._send())
            self._waiting.tell()

    async def wait_room(self) -> None:
        """Until the client has taken all but a bounded rest."""
        while self.size > UNSENT:
            if self.blocked:
                await self._waiting.wait()
            else:
                self.flush()

    async def wait_sent(self) -> None:
        """Until the socket has taken everything."""
        while self.blocked:
            await self._waiting.wait()
