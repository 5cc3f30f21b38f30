"""The database file: made, checked, migrated, opened. Here sqlite3's errors become ours. Nothing is ever set aside."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from ...protocol.errors import (
    DatabaseDamaged,
    DatabaseMissing,
    DatabaseNewer,
    DatabaseRefused,
    InternalError,
    RoostError,
    StorageFailed,
)

APPLICATION_ID = 0x726F6F73  # "roos"
MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 5.0
_MAGIC = b"SQLite format 3\x00"
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_FAILURES = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOLFS,
}


def primary_code(exc: sqlite3.Error) -> int:
    """SQLite's own code without its extension; 0 if the error is not SQLite's."""
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF


def ours(exc: sqlite3.Error, path: Path) -> RoostError:
    """What one of sqlite3's errors is in our words."""
    code = primary_code(exc)
    if code in _DAMAGE:
        return damaged(path, str(exc))
    if code not in _FAILURES:
        return InternalError(f"the database was asked for something wrong: {exc}; please report it", path=str(path))
    advice = "free some space" if code == sqlite3.SQLITE_FULL else "look at the disk and at the file's permissions"
    return StorageFailed(f"{path} cannot be read or written: {exc}; {advice}, then try again", path=str(path))


def damaged(path: Path, why: str) -> DatabaseDamaged:
    text = (
        f'{path} is damaged: {why}. Look with: sqlite3 {path} "PRAGMA integrity_check". To begin anew, '
        f"move it away yourself, together with {path.name}-wal and {path.name}-shm"
    )
    return DatabaseDamaged(text, path=str(path))


def identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of what stands at ``path``; None if nothing does. An unlinked database still takes writes."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def prepare(path: Path, *, used: bool) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """A reader and the writer of a database of the newest format at ``path``.

    Args:
        used: this state directory has been used before, so a missing database is not made anew.

    Raises:
        DatabaseMissing, DatabaseDamaged, DatabaseNewer, DatabaseRefused, StorageFailed
    """
    opened: list[sqlite3.Connection] = []
    try:
        if not _make(path, used):
            opened.append(connect(path, "ro"))
            _inspect(opened[0], path, used)
        opened.append(connect(path, "rw"))
        _migrate(opened[-1])
        if len(opened) == 1:
            opened.insert(0, connect(path, "ro"))
        # A connection that has read holds the WAL, so that one which is dropped and opened anew does not replace it.
        opened[0].execute("SELECT count(*) FROM meta").fetchone()
        return opened[0], opened[1]
    except (OSError, sqlite3.Error, RoostError) as exc:
        for conn in opened:
            conn.close()
        if isinstance(exc, RoostError):
            raise
        if isinstance(exc, sqlite3.Error):
            raise ours(exc, path) from exc
        text = f"{path} cannot be used: {exc.strerror or exc}; look at its permissions"
        raise StorageFailed(text, path=str(path)) from exc


def _make(path: Path, used: bool) -> bool:
    """Whether the database is to be filled: it was not there, or no more than its name was."""
    if not path.exists():
        if used:
            text = (
                f"{path} is missing although this state directory has been used; put it back, or use another directory"
            )
            raise DatabaseMissing(text, path=str(path))
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        return True
    if not path.is_file():
        raise damaged(path, "it is not a file")
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
    if head != _MAGIC and (head or used):
        raise damaged(path, "it is not a SQLite database" if head else "it is empty")
    return not head


def _inspect(conn: sqlite3.Connection, path: Path, used: bool) -> None:
    """Refuse what is not ours. ``conn`` is read-only: not even the WAL is folded in when we refuse."""
    application = conn.execute("PRAGMA application_id").fetchone()[0]
    version = conn.execute("PRAGMA user_version").fetchone()[0]
    tables = {name for (name,) in conn.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if not (application or version or tables) and not used:
        return  # its making was cut off
    if not (application or version or tables):
        raise damaged(path, f"it is empty; is {path.name}-wal missing?")
    if application != APPLICATION_ID:
        raise DatabaseRefused(f"{path} belongs to another program; use another state directory", path=str(path))
    if version > newest():
        text = f"{path} has format {version}, this roost knows {newest()} at most; install a newer roost"
        raise DatabaseNewer(text, path=str(path), version=version, known=newest())
    if version < 1:
        raise damaged(path, f"its format is {version}, and there is none of that number")
    if missing := _tables(version) - tables:
        raise damaged(path, f"without the tables {', '.join(sorted(missing))}")
    if conn.execute("SELECT count(*) FROM meta").fetchone() != (1,):
        raise damaged(path, "its counters are missing")


def _tables(version: int) -> set[str]:
    """What a database of this version has."""
    with closing(sqlite3.connect(":memory:")) as conn:
        for file in sorted(MIGRATIONS.glob("*.sql")):
            if int(file.stem) <= version:
                conn.executescript(file.read_text(encoding="utf-8"))
        return {name for (name,) in conn.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def newest() -> int:
    """The version of the last migration."""
    return max(int(file.stem) for file in MIGRATIONS.glob("*.sql"))


def _migrate(conn: sqlite3.Connection) -> None:
    version = conn.execute("PRAGMA user_version").fetchone()[0]
    for number in range(version + 1, newest() + 1):
        script = (MIGRATIONS / f"{number:04}.sql").read_text(encoding="utf-8")
        marks = f"PRAGMA user_version = {number}; PRAGMA application_id = {APPLICATION_ID};"
        conn.executescript(f"BEGIN IMMEDIATE; {script}; {marks} COMMIT;")
    if version < newest():
        conn.execute("PRAGMA wal_checkpoint")  # without its WAL it is whole, if not up to date


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection for one thread at a time. ``mode``: rw for the writer, ro for readers.

    Raises:
        sqlite3.Error
    """
    conn = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        if mode == "ro":
            conn.execute("PRAGMA query_only = ON")
        else:
            conn.execute("PRAGMA journal_mode = WAL").fetchone()
            conn.executescript("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -8000;")
    except sqlite3.Error:
        conn.close()
        raise
    return conn
