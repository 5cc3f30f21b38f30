"""Saved copies of an engine's state. The store does not look into them: they are the engine's bytes."""

import sqlite3

from ...protocol.errors import CheckpointNotFound, LimitReached
from ...protocol.events import CHECKPOINT_SAVED, SESSION_CLEARED, CheckpointSaved, SessionCleared
from ...protocol.model import DAEMON, Author, Checkpoint
from .tx import Tx

LATEST = "latest"
MAX_NAMES = 100
"""Checkpoints of one session."""
_COLUMNS = "session, name, through_turn, bytes, at"


def save(
    tx: Tx, session: str, *, name: str, state: bytes, through_turn: str | None, author: Author = DAEMON
) -> Checkpoint:
    """Keep a state under ``name``, over what had that name.

    Raises:
        SessionNotFound, LimitReached
    """
    _refuse_more(tx, session, name)
    if name == LATEST:
        checkpoint = keep_latest(tx, session, state, through_turn)
    else:
        checkpoint = _put(tx, session, name, state, through_turn)
    by = author.to_wire()
    tx.emit(
        session, CHECKPOINT_SAVED, CheckpointSaved(name=name, through_turn=through_turn, bytes=len(state), author=by)
    )
    return checkpoint


def keep_latest(tx: Tx, session: str, state: bytes, through_turn: str | None) -> Checkpoint:
    """Keep a state as ``latest``, without an event of its own."""
    record = tx.session(session)
    checkpoint = _put(tx, session, LATEST, state, through_turn)
    tx.put_session(record.model_copy(update={"checkpoint_at": tx.now, "through_turn": through_turn}))
    return checkpoint


def clear(tx: Tx, session: str, state: bytes | None, author: Author = DAEMON) -> None:
    """The engine's state was emptied: ``state`` is what is left of it, None if there is nothing to keep.

    Raises:
        SessionNotFound
    """
    record = tx.session(session)
    if state is None:
        tx.conn.execute("DELETE FROM checkpoints WHERE session = ? AND name = ?", (session, LATEST))
        tx.put_session(record.model_copy(update={"checkpoint_at": None, "through_turn": None}))
    else:
        keep_latest(tx, session, state, record.last_turn)
    tx.emit(session, SESSION_CLEARED, SessionCleared(author=author.to_wire()))


def load(conn: sqlite3.Connection, session: str, name: str) -> tuple[Checkpoint, bytes] | None:
    """A checkpoint and its state; None if there is none of that name."""
    sql = f"SELECT {_COLUMNS}, state FROM checkpoints WHERE session = ? AND name = ?"
    row = conn.execute(sql, (session, name)).fetchone()
    return (_checkpoint(row[:-1]), row[-1]) if row else None


def not_found(session: str, name: str) -> CheckpointNotFound:
    """What to raise when ``load`` found none."""
    text = f"session {session} has no checkpoint {name!r}; `roost call session.checkpoints` lists what it has"
    return CheckpointNotFound(text, session=session, checkpoint=name)


def listing(conn: sqlite3.Connection, session: str) -> list[Checkpoint]:
    """The session's checkpoints, by name."""
    rows = conn.execute(f"SELECT {_COLUMNS} FROM checkpoints WHERE session = ? ORDER BY name", (session,))
    return [_checkpoint(row) for row in rows]


def _checkpoint(row: tuple[str, str, str | None, int, int]) -> Checkpoint:
    session, name, through_turn, size, at = row
    return Checkpoint(session=session, name=name, through_turn=through_turn, bytes=size, at=at)


def _put(tx: Tx, session: str, name: str, state: bytes, through_turn: str | None) -> Checkpoint:
    row = (session, name, through_turn, len(state), tx.now)
    tx.conn.execute("INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?, ?)", (*row, state))
    return _checkpoint(row)


def _refuse_more(tx: Tx, session: str, name: str) -> None:
    sql = "SELECT count(*) FROM checkpoints WHERE session = ? AND name != ?"
    if tx.conn.execute(sql, (session, name)).fetchone()[0] >= MAX_NAMES:
        text = f"session {session} has {MAX_NAMES} checkpoints; save under a name that it has already"
        raise LimitReached(text, session=session, limit=MAX_NAMES)
