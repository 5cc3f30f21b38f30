"""Group commit, savepoints, and what becomes of a group when one operation in it goes wrong."""

import logging
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from helpers.ledger import Ledger, creating, emitting, sending
from roost.daemon.store import Commit, Stored, Tx, database, identity, reads
from roost.daemon.store.link import Link
from roost.daemon.store.tx import Counters
from roost.daemon.store.writer import KNOWN_SESSIONS, Writer
from roost.protocol.errors import InternalError, LimitReached, OutcomeUnknown, QueueFull, StorageFailed
from roost.protocol.events import TURN_PROGRESSED, TurnProgressed
from roost.protocol.rpc import unpack

Operation = Callable[[Tx], object]


def writing_then(session: str, what: Callable[[], None]) -> Operation:
    """An operation that changes things and fails in the end."""

    def operation(tx: Tx) -> None:
        tx.emit(session, TURN_PROGRESSED, TurnProgressed(message="must not stay"))
        tx.put_session(tx.session(session).model_copy(update={"name": "spoilt"}))
        what()

    return operation


def refuse() -> None:
    raise QueueFull("no more")


def stumble() -> None:
    raise ZeroDivisionError("oh")


def test_a_group_is_one_commit(ledger: Ledger) -> None:
    session = ledger.create()
    before = ledger.writer.counts["commits"]
    ledger.group(*[emitting(session.id) for _ in range(500)])
    assert ledger.writer.counts["commits"] == before + 1
    assert ledger.session(session).seq == 501


def test_first_in_is_first_out(ledger: Ledger) -> None:
    """Strictly in order, by one writer."""
    session = ledger.create()
    ledger.group(*[emitting(session.id, str(n)) for n in range(100)])
    assert [unpack(e.packed)["data"]["message"] for e in ledger.events(session, 1)] == [str(n) for n in range(100)]


@pytest.mark.parametrize(
    ("failing", "error"), [(refuse, QueueFull), (stumble, InternalError), (sys.exit, InternalError)]
)
def test_a_failed_operation_leaves_nothing_and_gives_its_numbers_back(
    ledger: Ledger, failing: Callable[[], None], error: type[Exception]
) -> None:
    """The others of the batch are written, and it is known which."""
    session = ledger.create("sound")
    good = emitting(session.id)
    jobs = ledger.group(good, writing_then(session.id, failing), good, writing_then(session.id, failing), good)
    assert [type(job.error) for job in jobs] == [type(None), error, type(None), error, type(None)]
    assert [event.seq for event in ledger.events(session)] == [1, 2, 3, 4]
    assert [event.offset for event in ledger.events(None)] == [1, 2, 3, 4]
    assert ledger.session(session).name == "sound"
    assert ledger.writer.counts["rollbacks"] == 0


def test_a_mistake_is_logged_with_its_traceback(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    session = ledger.create()
    with pytest.raises(InternalError, match="ZeroDivisionError"):
        ledger.do(writing_then(session.id, stumble))
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info and record.exc_info[0] is ZeroDivisionError


def test_a_mistake_of_the_writer_itself_lets_nobody_wait_for_ever(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def number(writer: Writer, conn: sqlite3.Connection) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "_number", number)
        jobs = ledger.group(emitting(""), emitting(""))
    assert [type(job.error) for job in jobs] == [OutcomeUnknown] * 2
    assert "ZeroDivisionError" in caplog.text
    ledger.do(emitting(""))
    assert [event.seq for event in ledger.events("")] == [1]
    assert delivered(ledger) == ledger.events(""), "what is in no database was never so"


def test_wrong_sql_is_a_mistake_of_ours(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InternalError, match="no such table"):
        ledger.do(lambda tx: tx.conn.execute("SELECT * FROM nowhere"))
    assert caplog.records[0].exc_info


def test_an_event_over_1_mib_fails_its_operation_only(ledger: Ledger) -> None:
    session = ledger.create()
    with pytest.raises(LimitReached, match="over 1 MiB"):
        ledger.do(emitting(session.id, "x" * 1024 * 1024))
    ledger.do(emitting(session.id, "x" * 1_000_000))
    assert [event.seq for event in ledger.events(session)] == [1, 2]


def test_an_event_too_large_that_the_operation_survives_takes_no_number(ledger: Ledger) -> None:
    session = ledger.create()

    def operation(tx: Tx) -> None:
        for id in (session.id, ""):
            with pytest.raises(LimitReached):
                tx.emit(id, TURN_PROGRESSED, TurnProgressed(message="x" * 1024 * 1024))
            tx.emit(id, TURN_PROGRESSED, TurnProgressed(message="small"))

    ledger.do(operation)
    assert [event.seq for event in ledger.events(session)] == [1, 2]
    assert [event.seq for event in ledger.events("")] == [1]


def test_what_changes_nothing_waits_for_no_disk(ledger: Ledger) -> None:
    session = ledger.create()
    marker = ledger.conn.execute("SELECT marker FROM meta").fetchone()
    ledger.group(lambda tx: tx.session(session.id), lambda tx: tx.session(session.id))
    assert ledger.conn.execute("SELECT marker FROM meta").fetchone() == marker


def test_a_group_that_cannot_begin_fails_at_once_as_a_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for somebody else's lock waits for it once, however many others were handed in with it."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.01)
    with closing(Ledger(path)) as ledger, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        asked: list[str] = []
        ledger.conn.set_trace_callback(asked.append)
        jobs = ledger.group(*[emitting("") for _ in range(5)])
        assert [type(job.error) for job in jobs] == [StorageFailed] * 5
        assert asked == ["BEGIN IMMEDIATE"]
        other.execute("ROLLBACK")
        ledger.group(*[emitting("") for _ in range(5)])
        assert [event.seq for event in ledger.events("")] == [1, 2, 3, 4, 5]


# --- a COMMIT that fails though it is done: what is in the database then, and nothing else, is delivered ---


class Broken:
    """A connection whose COMMIT is done, and fails."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        done = self._conn.execute(sql, *parameters)
        if sql == "COMMIT":
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error
        return done

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)


@pytest.fixture
def unknown(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """Two operations of the ledger are on disk, and nobody knows. What is in the list keeps it from being looked at."""
    errors: list[Exception] = [StorageFailed("the disk does not answer; look at it")]
    reopen = Link.reopen

    def look(link: Link) -> Counters:
        if errors:
            raise errors.pop()
        return reopen(link)

    monkeypatch.setattr(Link, "reopen", look)
    monkeypatch.setattr(ledger.writer.link, "conn", Broken(ledger.conn))
    jobs = ledger.group(emitting("", "one"), emitting("", "two"))
    assert [type(job.error) for job in jobs] == [OutcomeUnknown] * 2 and not ledger.commits
    return errors


def delivered(ledger: Ledger) -> list[Stored]:
    return [event for commit in ledger.commits for event in commit.events]


def test_what_was_done_unknown_to_all_is_delivered_before_what_follows(
    ledger: Ledger, unknown: list[Exception]
) -> None:
    ledger.do(emitting("", "three"))
    assert [event.seq for event in delivered(ledger)] == [1, 2, 3]
    assert delivered(ledger) == ledger.events("")


def test_as_long_as_it_cannot_be_looked_at_a_group_fails_as_a_whole(ledger: Ledger, unknown: list[Exception]) -> None:
    unknown.append(StorageFailed("it still does not answer; look at it"))
    jobs = ledger.group(*[emitting("") for _ in range(5)])
    assert [job.error and job.error.message for job in jobs] == ["it still does not answer; look at it"] * 5
    ledger.do(emitting("", "three"))
    assert delivered(ledger) == ledger.events("") and len(ledger.events("")) == 3


def test_a_mistake_while_it_is_looked_at_does_not_forget_it(ledger: Ledger, unknown: list[Exception]) -> None:
    unknown.append(MemoryError())
    (job,) = ledger.group(emitting("", "never"))
    assert isinstance(job.error, OutcomeUnknown)
    ledger.do(emitting("", "three"))
    assert delivered(ledger) == ledger.events("") and len(ledger.events("")) == 3


# --- a full disk: SQLite is told how many pages there may be ---


@pytest.fixture
def full(ledger: Ledger) -> Ledger:
    """The database may grow by twenty pages and no more."""
    (pages,) = ledger.conn.execute("PRAGMA page_count").fetchone()
    ledger.conn.execute(f"PRAGMA max_page_count = {pages + 20}")
    return ledger


def greedy(session: str) -> Operation:
    """Needs a hundred pages."""
    return lambda tx: tx.emit(session, TURN_PROGRESSED, TurnProgressed(message="x" * 400_000))


def test_only_the_one_that_fills_the_disk_fails(full: Ledger) -> None:
    """SQLite rolls the whole group back; the others run again, each in a transaction of its own."""
    session = full.create()
    good = emitting(session.id)
    jobs = full.group(good, good, greedy(session.id), good, sending(session.id))
    assert [type(job.error) for job in jobs] == [type(None), type(None), StorageFailed, type(None), type(None)]
    assert isinstance(jobs[2].error, StorageFailed) and "free some space" in jobs[2].error.message
    assert full.writer.counts["rollbacks"] > 0, "SQLite did not roll the whole group back: this test shows nothing"
    assert [event.seq for event in full.events(session)] == [1, 2, 3, 4, 5]
    assert [event.offset for event in full.events(None)] == [1, 2, 3, 4, 5]
    assert full.queue(session) == ["make it so"]


def test_an_operation_that_swallows_the_full_disk_fails_all_the_same(full: Ledger) -> None:
    session = full.create()

    def swallowing(tx: Tx) -> str:
        tx.put_session(tx.session(session.id).model_copy(update={"name": "half"}))
        try:
            tx.conn.execute("INSERT INTO chunks VALUES ('i', 0, zeroblob(1000000))")
        except sqlite3.Error:
            pass
        return "all is well"

    good = emitting(session.id)
    first, second, third = full.group(good, swallowing, good)
    assert first.error is None and third.error is None
    assert isinstance(second.error, StorageFailed)
    assert full.session(session).name is None
    assert [event.seq for event in full.events(session)] == [1, 2, 3]


def test_a_mistake_among_those_that_run_again_alone_delivers_what_is_there(
    full: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[object] = []

    def count(writer: Writer, commits: list[Commit]) -> None:
        counted.append(commits)
        if len(counted) == 2:
            raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "_count", count)
        jobs = full.group(emitting("", "one"), emitting("", "two"), greedy(""), emitting("", "four"))
    assert [type(job.error) for job in jobs] == [type(None), OutcomeUnknown, StorageFailed, StorageFailed]
    full.do(emitting("", "five"))
    assert [unpack(event.packed)["data"]["message"] for event in full.events("")] == ["one", "two", "five"]
    assert delivered(full) == full.events("")


def test_a_full_disk_is_over_when_there_is_room_again(full: Ledger) -> None:
    session = full.create()
    with pytest.raises(StorageFailed):
        full.do(greedy(session.id))
    full.conn.execute("PRAGMA max_page_count = 1000000")
    full.do(greedy(session.id))
    assert full.session(session).seq == 2


def test_a_session_made_in_a_group_that_was_rolled_back_is_forgotten(full: Ledger) -> None:
    """Records at hand must not outlive the transaction they came from."""
    made = full.group(creating("first"), greedy(""))[0].result
    assert full.session(made).name == "first"
    full.do(sending(made.id))
    assert full.session(made).queued == 1


def test_more_sessions_than_are_kept_at_hand(ledger: Ledger) -> None:
    made = [job.result for job in ledger.group(*[creating() for _ in range(KNOWN_SESSIONS + 10)])]
    ledger.group(*[sending(session.id) for session in made])
    assert {(session.seq, session.queued) for session in ledger.read(reads.all_sessions)} == {(2, 1)}


def test_a_large_wal_is_emptied_when_nobody_reads_in_it(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roost.daemon.store.link.LARGE_WAL", 1_000_000)
    monkeypatch.setattr("roost.daemon.store.link.TRUNCATE_SECONDS", 0.0)
    wal = ledger.path.with_name("roost.db-wal")
    ledger.reader.execute("BEGIN")
    ledger.reader.execute("SELECT * FROM meta").fetchall()
    for _ in range(20):
        ledger.do(lambda tx: tx.emit("", TURN_PROGRESSED, TurnProgressed(message="x" * 100_000)))
        ledger.writer.link.rest()
    assert wal.stat().st_size > 1_000_000, "a reader's transaction pins the WAL"
    ledger.reader.execute("ROLLBACK")
    ledger.writer.link.rest()
    assert wal.stat().st_size == 0
    ledger.do(emitting(""))
    assert len(ledger.events("")) == 21


def test_a_wal_that_is_read_for_too_long_leaves_the_doubt(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a failed commit left is believed when it is folded in, not before."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.01)
    link = ledger.writer.link
    ledger.do(emitting(""))
    ledger.reader.execute("BEGIN")
    ledger.reader.execute("SELECT * FROM meta").fetchall()
    ledger.do(emitting(""))
    link.drop()
    with pytest.raises(StorageFailed, match="read for too long"):
        link.reopen()
    assert link.conn is None
    ledger.reader.execute("ROLLBACK")
    assert link.reopen().offset == 2


@pytest.mark.parametrize("used", [True, False])
def test_the_wal_stays_the_file_it_is_when_the_writer_opens_the_database_anew(path: Path, used: bool) -> None:
    """Else the daemon would take it for one that was replaced."""
    if used:
        Ledger(path).close()
    with closing(Ledger(path, used=used)) as ledger:
        wal = path.with_name("roost.db-wal")
        before = identity(wal)
        ledger.writer.link.drop()
        assert before is not None and identity(wal) == before
        ledger.writer.link.reopen()
        ledger.do(emitting(""))
        assert identity(wal) == before


def test_a_wal_that_was_unlinked_is_no_mistake(path: Path) -> None:
    with closing(Ledger(path)) as ledger:
        ledger.do(emitting(""))
        path.with_name("roost.db-wal").unlink()
        ledger.writer.link.rest()
