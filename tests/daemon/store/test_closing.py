"""How the store ends: what was handed in is on disk, and nobody waits for what hangs."""

import sqlite3
from pathlib import Path
from threading import Event

import pytest
import trio

from helpers.daemon import wait_until
from helpers.ledger import Ledger, emitting
from roost.daemon.store import Commit, Store, Tx, reads
from roost.daemon.store import store as store_module
from roost.protocol.errors import DatabaseMissing, ShuttingDown


async def test_a_read_that_is_under_way_when_it_closes_ends_well(path: Path, nursery: trio.Nursery) -> None:
    store = Store.open(path, used=False)
    await nursery.start(store.run)
    entered, leave = Event(), Event()
    used: list[sqlite3.Connection] = []

    def query(conn: sqlite3.Connection) -> None:
        used.append(conn)
        entered.set()
        assert leave.wait(10)
        conn.execute("SELECT * FROM meta").fetchone()

    async with trio.open_nursery() as inner:
        inner.start_soon(store.read, query)
        assert await trio.to_thread.run_sync(entered.wait, 10)
        store.close()
        leave.set()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        used[0].execute("SELECT 1")


async def test_what_was_handed_in_is_committed_before_it_closes(path: Path, nursery: trio.Nursery) -> None:
    store = Store.open(path, used=False)
    await nursery.start(store.run)
    for _ in range(200):
        store.write_nowait(emitting(""))
    store.close()
    store.close()
    with pytest.raises(ShuttingDown):
        await store.write(emitting(""))
    with pytest.raises(ShuttingDown):
        await store.read(reads.all_sessions)
    assert [file.name for file in path.parent.iterdir()] == ["roost.db"], "the WAL was folded in"
    ledger = Ledger(path, used=True)
    assert len(ledger.events("")) == 200
    ledger.close()


async def test_to_cancel_its_run_commits_what_was_handed_in(path: Path) -> None:
    store = Store.open(path, used=False)
    delivered: list[Commit] = []
    store.on_commit.append(delivered.append)
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        for _ in range(200):
            store.write_nowait(emitting(""))
        nursery.cancel_scope.cancel()
    assert len(delivered) == 200
    store.close()
    ledger = Ledger(path, used=True)
    assert len(ledger.events("")) == 200
    ledger.close()


def test_a_writer_that_was_waited_for_in_vain_is_not_waited_for_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a stop on a disk that hangs would take twice as long."""
    gate, given_up = Event(), Event()
    store = Store.open(path, used=False)

    def hang(tx: Tx) -> None:
        if not gate.wait(10):
            given_up.set()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            store.write_nowait(hang)
            nursery.cancel_scope.cancel()

    monkeypatch.setattr(store_module, "END_SECONDS", 0.01)
    trio.run(main)
    monkeypatch.setattr(store_module, "END_SECONDS", 60.0)
    store.close()
    assert not given_up.is_set()
    gate.set()


def test_one_that_never_ran_closes(path: Path) -> None:
    Store.open(path, used=False).close()
    with pytest.raises(DatabaseMissing):
        Store.open(path.with_name("other.db"), used=True)


def test_commits_that_nobody_is_left_to_hear_of(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The loop ends while the writer is busy: what it does is done, and said in the log."""
    gate = Event()
    store = Store.open(path, used=False)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            store.write_nowait(lambda tx: gate.wait(10))
            store.write_nowait(emitting(""))
            nursery.cancel_scope.cancel()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("roost.daemon.store.store.END_SECONDS", 0.01)
        trio.run(main)
    store.close()
    gate.set()
    wait_until(lambda: "loop ended" in caplog.text, "the end of what the writer does")
    ledger = Ledger(path, used=True)
    assert len(ledger.events("")) == 1
    ledger.close()
