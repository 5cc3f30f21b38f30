"""The store as the loop sees it: what is promised when a write returns, and when it does not."""

import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from threading import Event

import pytest
import trio

from helpers.ledger import Ledger, creating, emitting, sending
from helpers.waiting import wait_until
from roost.daemon.store import Commit, Store, Tx, reads, sessions
from roost.daemon.store import store as store_module
from roost.daemon.store.readers import READERS
from roost.daemon.store.writer import Job, Writer
from roost.protocol.errors import (
    DatabaseDamaged,
    InternalError,
    NameTaken,
    SessionNotFound,
    StorageFailed,
    StorageGone,
)
from roost.protocol.model import Session


class Gate:
    """Keeps the writer's thread busy until it is opened."""

    def __init__(self, store: Store) -> None:
        self._open = Event()
        self._entered = Event()
        store.write_nowait(self._wait)

    def _wait(self, tx: Tx) -> None:
        self._entered.set()
        assert self._open.wait(10)

    async def entered(self) -> None:
        assert await trio.to_thread.run_sync(self._entered.wait, 10)

    def open(self) -> None:
        self._open.set()


async def test_a_write_returns_after_its_commit_was_delivered_and_is_on_disk(store: Store, path: Path) -> None:
    """Durable before any subscriber sees it; seen before the one who asked is answered."""
    seen: list[tuple[Commit, int]] = []

    def look(commit: Commit) -> None:
        with sqlite3.connect(path) as other:
            (stored,) = other.execute("SELECT count(*) FROM events").fetchone()
        other.close()
        seen.append((commit, stored))

    store.on_commit.append(look)
    session = await store.write(creating("first"))
    assert isinstance(session, Session)
    ((commit, stored),) = seen
    assert stored == 1 and store.offset == 1
    assert [event.kind for event in commit.events] == ["session.created"]
    assert commit.sessions == {session.id: session} and commit.turns == []
    turn, _, _ = await store.write(sending(session.id))
    assert seen[1][0].turns == [turn] and seen[1][0].sessions[session.id].queued == 1  # type: ignore[union-attr]


async def test_nobody_need_listen(store: Store) -> None:
    await store.write(emitting(""))
    assert store.offset == 1


async def test_commits_are_delivered_in_order_one_an_operation(store: Store) -> None:
    offsets: list[int] = []
    store.on_commit.append(lambda commit: offsets.extend(event.offset for event in commit.events))
    done: list[int] = []

    async def write(n: int) -> None:
        await store.write(emitting("", str(n)))
        done.append(n)
        assert len(offsets) >= len(done)

    async with trio.open_nursery() as nursery:
        for n in range(300):
            nursery.start_soon(write, n)
    assert offsets == list(range(1, 301)) and store.offset == 300


async def test_what_arrives_during_a_commit_goes_into_the_next(store: Store) -> None:
    gate = Gate(store)
    await gate.entered()
    before = store.counters["commits"]
    for _ in range(500):
        store.write_nowait(emitting(""))
    gate.open()
    await store.write(emitting(""))
    assert store.offset == 501
    assert store.counters["commits"] - before <= 2
    assert store.counters["events"] == 501


async def test_a_group_has_an_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roost.daemon.store.store.GROUP", 10)
    gate = Gate(store)
    await gate.entered()
    for _ in range(100):
        store.write_nowait(emitting(""))
    gate.open()
    await store.write(emitting(""))
    assert store.counters["commits"] >= 10 and store.offset == 101


async def test_its_own_error_comes_back_and_leaves_nothing(store: Store) -> None:
    await store.write(creating("taken"))
    before = store.offset
    with pytest.raises(NameTaken):
        await store.write(creating("taken"))
    assert store.offset == before and store.problem is None


async def test_a_mistake_is_an_internal_error_and_the_store_goes_on(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InternalError):
        await store.write(lambda tx: 1 / 0)
    assert "ZeroDivisionError" in caplog.text
    await store.write(emitting(""))
    assert store.problem is None


async def test_to_be_cancelled_ends_only_the_waiting(store: Store) -> None:
    gate = Gate(store)
    with trio.move_on_after(0.01) as scope:
        await store.write(creating("made all the same"))
    assert scope.cancelled_caught
    gate.open()
    await store.write(emitting(""))
    assert [s.name for s in await store.read(reads.all_sessions)] == ["made all the same"]


async def test_one_who_is_cancelled_already_still_hands_it_in(store: Store) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.write(creating("made"))
    await store.write(emitting(""))
    assert len(await store.read(reads.all_sessions)) == 1


async def test_a_failure_that_nobody_waits_for_is_logged_and_counted(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.write_nowait(lambda tx: sessions.archive(tx, "s-none"))
    await store.write(emitting(""))
    assert store.counters["unheard_failures"] == 1
    assert [r.levelno for r in caplog.records] == [logging.WARNING] and "s-none" in caplog.text


async def test_a_listener_that_fails_harms_nobody(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    def stumble(commit: Commit) -> None:
        raise ZeroDivisionError

    heard: list[Commit] = []
    store.on_commit += [stumble, heard.append]
    await store.write(emitting(""))
    await store.write(emitting(""))
    assert len(heard) == 2 and store.counters["listener_failures"] == 2
    assert "ZeroDivisionError" in caplog.text


async def test_when_its_files_are_gone_nothing_is_written(store: Store) -> None:
    """Writing to an unlinked database would succeed."""
    session = await store.write(creating())
    store.gone = "/state/roost.db"
    with pytest.raises(StorageGone, match=r"/state/roost\.db was removed or replaced"):
        await store.write(emitting(""))
    with pytest.raises(StorageGone):
        store.write_nowait(emitting(""))
    assert (await store.read(lambda conn: reads.session(conn, session.id))) == session


async def test_what_stands_in_a_wal_that_was_unlinked_is_brought_into_the_database(store: Store) -> None:
    """Nothing else holds it, and what is killed folds nothing in."""
    await store.write(emitting(""))
    wal = store.path.with_name("roost.db-wal")
    with wal.open("rb") as held:
        wal.unlink()
        assert str(wal) in store.lose(str(wal)).message
        await wait_until(lambda: os.stat(held.fileno()).st_size == 0)
    with closing(sqlite3.connect(f"{store.path.as_uri()}?immutable=1", uri=True)) as conn:
        assert conn.execute("SELECT count(*) FROM events").fetchone() == (1,)
    assert isinstance(store.problem, StorageGone)


async def test_a_write_failure_is_a_problem_until_one_succeeds(store: Store) -> None:
    def fill(tx: Tx) -> None:
        (pages,) = tx.conn.execute("PRAGMA page_count").fetchone()
        tx.conn.execute(f"PRAGMA max_page_count = {pages}")
        tx.conn.execute("INSERT INTO chunks VALUES ('i', 0, zeroblob(1000000))")

    with pytest.raises(StorageFailed) as caught:
        await store.write(fill)
    assert store.problem is caught.value and store.counters["storage_failures"] == 1
    await store.write(emitting(""))
    assert store.problem is None


# --- reads ---


async def test_a_read_sees_all_of_an_operation_or_nothing(store: Store) -> None:
    """The old whole or the new whole, never a part."""
    gate = Event()
    session = await store.write(creating())

    def half(tx: Tx) -> None:
        sending(session.id, "one")(tx)
        gate.set()
        sending(session.id, "two")(tx)
        assert gate.wait(10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.write, half)
        assert await trio.to_thread.run_sync(gate.wait, 10)
        found = await store.read(lambda conn: len(reads.turns(conn, session.id)[0]))
        assert found in (0, 2)
    assert await store.read(lambda conn: len(reads.turns(conn, session.id)[0])) == 2


async def test_a_read_waits_for_no_write_and_a_write_for_no_read(store: Store) -> None:
    gate = Gate(store)
    await gate.entered()
    assert await store.read(reads.all_sessions) == []
    gate.open()
    slow = Event()

    def wait(conn: sqlite3.Connection) -> bool:
        return slow.wait(10)

    async with trio.open_nursery() as nursery:
        for _ in range(READERS):
            nursery.start_soon(store.read, wait)
        await store.write(emitting(""))
        assert store.offset == 1
        slow.set()


async def test_a_read_returns_nothing_of_which_memory_has_not_heard(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a client that has seen an event could be told by the daemon's memory that nothing has happened yet."""
    committed, deliver = Event(), Event()
    run = Writer.run

    def held(self: Writer, jobs: list[Job]) -> list[Job]:
        concluded = run(self, jobs)
        committed.set()
        assert deliver.wait(10)
        return concluded

    monkeypatch.setattr(Writer, "run", held)
    heard: list[Commit] = []
    store.on_commit.append(heard.append)

    async def read() -> None:
        assert len(await store.read(lambda conn: reads.events(conn, None, 0, 10)[0])) == 1
        assert len(heard) == 1

    store.write_nowait(creating("first"))
    await trio.to_thread.run_sync(committed.wait, 10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_until(lambda: store.counters["reads"] == 1)
        with pytest.raises(SessionNotFound):  # what is refused tells nothing
            await store.read(lambda conn: reads.last(conn, "s_none"))
        deliver.set()


async def test_a_read_of_what_is_never_told_of_does_not_wait_for_ever(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "TELLING", 0.01)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE meta SET marker = marker + 1")
    assert await store.read(lambda conn: reads.events(conn, None, 0, 10)[0]) == []


async def test_a_read_cannot_write(store: Store) -> None:
    with pytest.raises(StorageFailed, match="readonly"):
        await store.read(lambda conn: conn.execute("DELETE FROM meta"))
    await store.write(emitting(""))


async def test_a_read_ends_its_transaction_whatever_happens(store: Store) -> None:
    used: list[sqlite3.Connection] = []

    def query(conn: sqlite3.Connection) -> None:
        assert conn.in_transaction
        used.append(conn)
        conn.execute("SELECT * FROM meta").fetchone()
        raise ZeroDivisionError

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await store.read(query)
    assert not any(conn.in_transaction for conn in used)


async def test_a_read_that_is_given_up_gives_its_connection_back(store: Store) -> None:
    slow = Event()
    for _ in range(READERS):
        with trio.move_on_after(0.01) as scope:
            await store.read(lambda conn: slow.wait(10))
        assert scope.cancelled_caught
    slow.set()
    with trio.fail_after(5):
        for _ in range(READERS + 1):
            assert await store.read(reads.all_sessions) == []


async def test_a_damaged_page_is_named_when_it_is_met(path: Path, nursery: trio.Nursery) -> None:
    ledger = Ledger(path)
    session = ledger.create("sound")
    (page,) = ledger.conn.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'events'").fetchone()
    ledger.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    store = Store.open(path, used=True)
    await nursery.start(store.run)
    with pytest.raises(DatabaseDamaged, match="integrity_check"):
        await store.read(lambda conn: reads.events(conn, session.id, 0, 100))
    with pytest.raises(DatabaseDamaged):
        await store.write(emitting(session.id))
    assert isinstance(store.problem, DatabaseDamaged)
    assert (await store.read(lambda conn: reads.session(conn, "sound"))) == session
    store.close()
