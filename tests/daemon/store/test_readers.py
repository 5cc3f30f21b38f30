"""Connections that read: one before anybody reads, and as many as are needed at once."""

import gc
import sqlite3
import threading

import trio

from roost.daemon.store import Store
from roost.daemon.store.readers import READERS


def connections() -> int:
    """Those that read, and the writer's. SQLite keeps their descriptors as long as one of them is open."""
    return sum(isinstance(found, sqlite3.Connection) for found in gc.get_objects())


async def test_as_many_connections_are_open_as_were_needed_at_once_and_are_used_again(store: Store) -> None:
    gc.collect()  # the connections of other tests
    before = connections()
    together = threading.Barrier(READERS)
    used: set[sqlite3.Connection] = set()

    def query(conn: sqlite3.Connection) -> None:
        together.wait(10)
        conn.execute("SELECT count(*) FROM sessions").fetchone()
        used.add(conn)

    for _ in range(3):
        async with trio.open_nursery() as nursery:
            for _ in range(READERS):
                nursery.start_soon(store.read, query)
    assert len(used) == READERS
    assert connections() == before - 1 + READERS, "one was open before"
