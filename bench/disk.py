"""The yardsticks of the disk, on the file system where the daemon under measurement keeps its state."""

import os
import sqlite3
import time
from pathlib import Path

from .measure import Spread, spread

BLOCK = bytes(4096)
ROW = bytes(200)
"""About what one packed event takes."""


def fdatasync_mean(directory: Path, count: int) -> float:
    """Mean seconds of appending 4 KiB and one fdatasync."""
    file = os.open(directory / "yardstick", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        begin = time.perf_counter()
        for _ in range(count):
            os.write(file, BLOCK)
            os.fdatasync(file)
        return (time.perf_counter() - begin) / count
    finally:
        os.close(file)


def commit_spread(directory: Path, count: int, rate: int) -> Spread:
    """A commit of one row (WAL, FULL), ``rate`` of them a second."""
    conn = _database(directory)
    samples: list[float] = []
    begin = time.perf_counter()
    for number in range(count):
        time.sleep(max(0.0, begin + number / rate - time.perf_counter()))
        started = time.perf_counter()
        conn.execute("INSERT INTO rows VALUES (NULL, ?)", (ROW,))
        samples.append(time.perf_counter() - started)
    conn.close()
    return spread(samples)


def rows_per_second(directory: Path, count: int, group: int = 1_000) -> float:
    """Rows of one event's size that bare SQLite makes durable in a second, ``group`` in a commit (WAL, FULL)."""
    conn = _database(directory)
    begin = time.perf_counter()
    for _ in range(0, count, group):
        conn.execute("BEGIN")
        conn.executemany("INSERT INTO rows VALUES (NULL, ?)", [(ROW,)] * group)
        conn.execute("COMMIT")
    seconds = time.perf_counter() - begin
    conn.close()
    return count / seconds


def _database(directory: Path) -> sqlite3.Connection:
    conn = sqlite3.connect(directory / "yardstick.db", isolation_level=None)
    conn.execute("PRAGMA journal_mode = WAL")
    conn.execute("PRAGMA synchronous = FULL")
    conn.execute("CREATE TABLE IF NOT EXISTS rows (number INTEGER PRIMARY KEY, data BLOB)")
    return conn
