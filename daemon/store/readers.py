"""Read-only connections, on threads and under a limit of their own: a slow read never delays a write."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, TypeVar

import trio

from ...protocol.errors import ShuttingDown, StorageFailed
from ..waiting.deadline import in_thread
from .database import connect, ours
from .link import roll_back

T = TypeVar("T")
READERS = 2
"""Reads at once: one that takes long holds up no other, and more would only pass the interpreter's lock around."""
READING = 30.0
"""Seconds that a read may take, the waiting for others included."""


class Readers:
    """A pool of connections that only read."""

    def __init__(self, path: Path, first: sqlite3.Connection) -> None:
        self._path = path
        self._idle = [first]
        self._closed = False
        self._limiter = trio.CapacityLimiter(READERS)

    async def run(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """``query`` in one read transaction, which is over when it returns.

        Raises:
            ShuttingDown: the pool is closed.
            StorageFailed, DatabaseDamaged
        """
        return await in_thread(lambda: self._query(query), within=READING, otherwise=self._late, limiter=self._limiter)

    def _late(self) -> NoReturn:
        text = f"{self._path} was not read within {READING:g} s; look at the disk, then try again"
        raise StorageFailed(text, path=str(self._path))

    def close(self) -> None:
        """Close what is idle; a connection that is at work closes itself."""
        self._closed = True
        self._close_idle()

    def _query(self, query: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            raise ShuttingDown("the store is closed; start the daemon again")
        try:
            conn = self._take()
            try:
                conn.execute("BEGIN")
                return query(conn)
            finally:
                roll_back(conn)  # an open transaction would pin the WAL
                self._give_back(conn)
        except sqlite3.Error as exc:
            raise ours(exc, self._path) from exc

    def _take(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return connect(self._path, "ro")

    def _give_back(self, conn: sqlite3.Connection) -> None:
        self._idle.append(conn)
        if self._closed:
            self._close_idle()

    def _close_idle(self) -> None:
        with suppress(IndexError):  # another thread was faster
            while self._idle:
                self._idle.pop().close()
