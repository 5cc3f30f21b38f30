"""Opening: what is made anew, what is refused and left as it is, and what is migrated."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from helpers.ledger import Ledger, emitting, sending
from roost.daemon.store import Store, database, identity, reads
from roost.protocol.errors import (
    DatabaseDamaged,
    DatabaseMissing,
    DatabaseNewer,
    DatabaseRefused,
    RoostError,
    StorageFailed,
)

DATA = Path(__file__).parents[2] / "data"


def files(path: Path) -> dict[str, bytes]:
    """What there is of the database, byte for byte. A WAL without a frame and its index hold nothing."""
    found = {file.name: file.read_bytes() for file in path.parent.iterdir() if not file.name.endswith("-shm")}
    return {name: content for name, content in found.items() if content or not name.endswith("-wal")}


def refuse(path: Path, error: type[RoostError], *, used: bool = True) -> str:
    """The message of a refusal, after which everything is as it was."""
    before = files(path)
    with pytest.raises(error) as caught:
        Store.open(path, used=used)
    assert type(caught.value) is error
    assert files(path) == before
    assert str(path) in caught.value.message
    return caught.value.message


@pytest.fixture
def filled(path: Path) -> Path:
    """A database with something in it, closed."""
    with closing(Ledger(path)) as ledger:
        session = ledger.create("kept")
        ledger.group(*[emitting(session.id, "x" * 5000) for _ in range(50)])
    return path


def test_a_new_one_is_made_for_its_owner_only(path: Path) -> None:
    Ledger(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["roost.db"], "closing folds the WAL in"


def test_the_writer_waits_for_the_disk(ledger: Ledger) -> None:
    pragmas = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "application_id": database.APPLICATION_ID}
    assert {name: ledger.conn.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas} == pragmas


def test_a_reader_cannot_write(ledger: Ledger) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        ledger.reader.execute("DELETE FROM meta")


def test_what_was_written_is_there_again(filled: Path) -> None:
    with closing(Ledger(filled, used=True)) as ledger:
        assert ledger.session("kept").seq == 51


def test_one_that_is_missing_from_a_used_directory_is_not_made_anew(path: Path) -> None:
    assert "missing" in refuse(path, DatabaseMissing)
    assert not path.exists()


def test_one_that_was_emptied_is_damaged(filled: Path) -> None:
    filled.write_bytes(b"")
    assert "empty" in refuse(filled, DatabaseDamaged)


def test_one_whose_making_was_cut_off_is_made(path: Path) -> None:
    path.touch()
    Ledger(path).close()
    for cut in ("", "PRAGMA journal_mode = WAL"):
        path.unlink()
        with closing(sqlite3.connect(path)) as conn:
            conn.execute(cut or "PRAGMA user_version")
        with closing(Ledger(path)) as ledger:
            ledger.create()


def test_one_that_was_just_made_is_whole_without_its_wal(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    with closing(Ledger(path)) as ledger:
        ledger.create()
        copy.write_bytes(path.read_bytes())
    with closing(Ledger(copy, used=True)) as ledger:
        ledger.create()


def test_one_whose_making_stands_in_a_wal_that_is_not_there_says_so(path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("PRAGMA journal_mode = WAL")
    assert "is roost.db-wal missing?" in refuse(path, DatabaseDamaged)


@pytest.mark.parametrize("used", [True, False])
def test_garbage_is_damaged(path: Path, used: bool) -> None:
    path.write_bytes(b"to be, or not to be" * 1000)
    message = refuse(path, DatabaseDamaged, used=used)
    assert 'PRAGMA integrity_check"' in message and "roost.db-wal" in message


def overwrite(at: int, what: bytes) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[at : at + len(what)] = what
        path.write_bytes(content)

    return damage


def spoil_counters(path: Path) -> None:
    """The row of the table meta says that it is longer than it is."""
    with closing(sqlite3.connect(path)) as conn:
        (page,) = conn.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'meta'").fetchone()
    content = path.read_bytes()
    row = content.rindex(b"\x06\x00", 0, page * 4096)
    overwrite(row, b"\x7f")(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "magic": overwrite(0, b"SQLYTE"),
    "page size": overwrite(16, b"\xff\xff"),
    "schema": overwrite(100, b"\xff" * 3000),
    "counters": spoil_counters,
    "cut in half": cut,
    "cut after its head": lambda path: path.write_bytes(path.read_bytes()[:50]),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_one_is_refused_and_left_alone(filled: Path, damage: Callable[[Path], object]) -> None:
    damage(filled)
    assert "damaged" in refuse(filled, DatabaseDamaged)


def test_one_without_its_tables_or_counters_is_damaged(filled: Path) -> None:
    with closing(sqlite3.connect(filled)) as conn:
        conn.executescript("DELETE FROM meta")
    assert "counters" in refuse(filled, DatabaseDamaged)
    with closing(sqlite3.connect(filled)) as conn:
        conn.executescript("DROP TABLE chunks")
    assert "chunks" in refuse(filled, DatabaseDamaged)


@pytest.mark.parametrize(
    "table", ["environments", "turns", "items", "checkpoints", "events", "gaps", "deleted", "keys", "children"]
)
def test_one_without_any_of_its_tables_is_damaged(filled: Path, table: str) -> None:
    with closing(sqlite3.connect(filled)) as conn:
        conn.executescript(f"DROP TABLE {table}")
    assert f"without the tables {table}" in refuse(filled, DatabaseDamaged)


def test_a_table_that_came_later_is_not_missed_in_an_older_one(
    filled: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("migrations")
    shutil.copytree(database.MIGRATIONS, folder, dirs_exist_ok=True)
    monkeypatch.setattr(database, "MIGRATIONS", folder)
    (folder / f"{database_version(filled) + 1:04}.sql").write_text("CREATE TABLE extra (id TEXT)")
    Ledger(filled, used=True).close()
    with closing(sqlite3.connect(filled)) as conn:
        conn.executescript("DROP TABLE extra")
    assert "without the tables extra" in refuse(filled, DatabaseDamaged)


def test_one_that_has_tables_and_no_format_is_damaged(filled: Path) -> None:
    """Else the first migration would meet its own tables, at each start."""
    with closing(sqlite3.connect(filled)) as conn:
        conn.executescript("PRAGMA user_version = 0")
    assert "its format is 0" in refuse(filled, DatabaseDamaged)


def test_one_of_another_program_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript("CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('mine')")
    assert "another program" in refuse(path, DatabaseRefused, used=False)


def test_a_newer_one_is_refused_even_its_wal_is_left_alone(filled: Path) -> None:
    """It names both versions."""
    ahead = database.newest() + 1
    writer = sqlite3.connect(filled)
    try:
        writer.executescript(f"PRAGMA user_version = {ahead}")
        assert filled.with_name("roost.db-wal").stat().st_size > 0
        message = refuse(filled, DatabaseNewer)
        assert f"format {ahead}" in message and f"knows {database.newest()}" in message
    finally:
        writer.close()


def test_a_wal_that_a_killed_newer_daemon_left_is_left_alone(filled: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(filled)) as writer:
        writer.executescript(f"PRAGMA user_version = {database.newest() + 1}")
        copies = files(filled)
    left = tmp_path / "left"
    left.mkdir()
    for name, content in copies.items():
        (left / name).write_bytes(content)
    refuse(left / "roost.db", DatabaseNewer)


def test_a_folder_in_its_place_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(DatabaseDamaged, match="not a file"):
        Store.open(path, used=True)


def test_a_state_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="permissions"):
        Store.open(tmp_path / "nowhere" / "roost.db", used=False)


def test_a_file_in_place_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageFailed, match="file/roost"):
        Store.open(tmp_path / "file" / "roost.db", used=False)


def test_a_path_with_odd_characters(tmp_path: Path) -> None:
    path = tmp_path / "50% & so? #1.db"
    Ledger(path).close()
    assert path.exists()


def test_a_database_that_another_program_writes_to(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.01)
    with closing(Ledger(filled, used=True)) as ledger, closing(sqlite3.connect(filled, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageFailed, match="locked"):
            ledger.do(emitting(""))
        other.execute("ROLLBACK")
        ledger.do(emitting(""))
        assert ledger.events("")[0].seq == 1


def test_a_new_one_that_another_program_holds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.01)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "locked" in refuse(path, StorageFailed, used=False)


def test_migrations_are_numbered_without_a_gap() -> None:
    numbers = sorted(int(file.stem) for file in database.MIGRATIONS.glob("*.sql"))
    assert numbers == list(range(1, database.newest() + 1))


def test_a_migration_is_all_or_nothing(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "MIGRATIONS", tmp_path / "migrations")
    (tmp_path / "migrations").mkdir()
    following = tmp_path / "migrations" / f"{database_version(filled) + 1:04}.sql"
    following.write_text("CREATE TABLE extra (id TEXT); INSERT INTO extra VALUES ('a'); SELECT * FROM nowhere")
    with pytest.raises(RoostError, match="nowhere"):
        Store.open(filled, used=True)
    before = database_version(filled)
    following.write_text("CREATE TABLE extra (id TEXT); INSERT INTO extra VALUES ('a')")
    with closing(Ledger(filled, used=True)) as ledger:
        assert ledger.read(lambda conn: conn.execute("SELECT id FROM extra").fetchall()) == [("a",)]
        assert ledger.session("kept").seq == 51
    assert database_version(filled) == before + 1


def database_version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as conn:
        version: int = conn.execute("PRAGMA user_version").fetchone()[0]
    return version


@pytest.mark.parametrize("old", sorted(DATA.glob("v*.db")), ids=lambda path: path.stem)
def test_a_database_of_each_version_opens(old: Path, path: Path) -> None:
    path.write_bytes(old.read_bytes())
    with closing(Ledger(path, used=True)) as ledger:
        found = {session.name: session for session in ledger.read(reads.all_sessions)}
        assert {"done", "waiting", "cut-off", "archived"} <= found.keys()
        for session in found.values():
            events = ledger.events(session)
            assert [event.seq for event in events] == list(range(1, session.seq + 1))
            listed, _ = reads.turns(ledger.reader, session.id)
            assert len(listed) == session.turns
            for turn in listed:
                assert reads.items(ledger.reader, turn.id)[1] is None
        assert found["waiting"].queued == 2
        assert ledger.do(sending(found["waiting"].id))[0].number == 4
        ledger.check()


def test_there_is_a_database_of_every_version() -> None:
    assert {int(path.stem[1:]) for path in DATA.glob("v*.db")} == set(range(1, database.newest() + 1))


def test_identity_tells_a_file_from_what_took_its_place(path: Path) -> None:
    assert identity(path) is None
    path.write_text("one")
    first = identity(path)
    assert first is not None and first == identity(path)
    other = path.with_name("other")
    other.write_text("two")
    other.rename(path)
    assert identity(path) not in (first, None)
