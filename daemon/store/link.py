"""The writer's one connection: it folds the WAL in, and is opened anew after a failure."""

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from ...protocol.errors import StorageFailed
from .database import connect, ours
from .tx import Counters

LARGE_WAL = 32 * 1024 * 1024
"""Bytes beyond which the WAL is emptied, not only folded in; a start after a crash must read it."""
TRUNCATE_SECONDS = 1.0
"""Between two attempts to empty it: one that is read at that moment stays."""


class Link:
    """``conn`` is None after a failure, until ``reopen``."""

    def __init__(self, path: Path, conn: sqlite3.Connection) -> None:
        self.path = path
        self.conn: sqlite3.Connection | None = conn
        self._wal = path.with_name(path.name + "-wal")
        self._truncate_at = 0.0

    def stored(self) -> Counters:
        """What the last commit stored."""
        assert self.conn is not None
        return Counters(*self.conn.execute("SELECT last_offset, daemon_seq, marker FROM meta").fetchone())

    def drop(self) -> None:
        """Close what a failed COMMIT left; it is not to be believed."""
        if self.conn is not None:
            self.conn.close()
            self.conn = None

    def reopen(self) -> Counters:
        """Open the database anew. Returns what its last commit stored, which is on disk then.

        A commit follows, for else a crash could bring a failed one back: its frames may stand in the WAL. And the WAL
        is folded in: a failed fdatasync may have forgotten its pages, so that a second one proves nothing.

        Raises:
            StorageFailed, DatabaseDamaged
        """
        try:
            self.conn = connect(self.path, "rw")
            counters = self.stored()
            self.conn.execute("UPDATE meta SET settled = settled + 1")
            busy = self.conn.execute("PRAGMA wal_checkpoint(FULL)").fetchone()[0]
        except sqlite3.Error as exc:
            self.drop()
            raise ours(exc, self.path) from exc
        if busy:
            self.drop()
            raise StorageFailed(f"{self.path} is read for too long to be checked; try again", path=str(self.path))
        return counters

    def rest(self) -> None:
        """Between two groups: empty the WAL if it is large and nobody reads in it."""
        now = time.monotonic()
        if self.conn is None or now < self._truncate_at or _size(self._wal) < LARGE_WAL:
            return
        self._truncate_at = now + TRUNCATE_SECONDS
        with suppress(sqlite3.Error):
            (patience,) = self.conn.execute("PRAGMA busy_timeout").fetchone()
            self.conn.execute("PRAGMA busy_timeout = 0")
            self.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self.conn.execute(f"PRAGMA busy_timeout = {patience}")

    def fold(self) -> None:
        """Bring what stands in the WAL into the database: if it was unlinked, it ends with this connection."""
        if self.conn is not None:
            with suppress(sqlite3.Error):
                self.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        self.fold()
        self.drop()


def roll_back(conn: sqlite3.Connection) -> None:
    """End the transaction, if SQLite has not done so itself."""
    with suppress(sqlite3.Error):
        if conn.in_transaction:
            conn.execute("ROLLBACK")


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
