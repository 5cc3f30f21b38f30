"""Connections that read: as many as are needed at once, and few while nobody reads."""

import gc
import sqlite3
import threading

import trio

from roost.daemon.store import Store
from roost.daemon.store.readers import KEPT, READERS


def connections() -> int:
    """Those that read, and the writer's. SQLite keeps their descriptors as long as one of them is open."""
    gc.collect()  # those of other tests
    return sum(isinstance(found, sqlite3.Connection) for found in gc.get_objects())


async def test_after_many_reads_at_once_few_connections_stay_open(store: Store) -> None:
    before = connections()
    together = threading.Barrier(READERS + 1)

    def query(conn: sqlite3.Connection) -> int:
        together.wait(10)
        return int(conn.execute("SELECT count(*) FROM sessions").fetchone()[0])

    async with trio.open_nursery() as nursery:
        for _ in range(READERS):
            nursery.start_soon(store.read, query)
        await trio.to_thread.run_sync(together.wait, 10)
    assert connections() == before - 1 + KEPT
    assert await store.read(lambda conn: conn.execute("SELECT 7").fetchone()) == (7,)
