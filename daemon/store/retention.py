"""Old records removed, a bounded number at a call. Numbers never change: readers find a gap where events were."""

import sqlite3
import time

from .tx import Tx

EVENTS, TURNS, BYTES = 5000, 500, 64 * 1024 * 1024
"""Removed by one call at most, so that what waits behind it does not wait long. BYTES: of items' content."""


def prunable(
    conn: sqlite3.Connection, keep: int, older_than_ms: int | None, keep_turns: int | None = None
) -> list[str]:
    """Sessions of which ``prune`` would remove something, deleted ones too; '' stands for the daemon's own events."""
    before = -1 if older_than_ms is None else time.time_ns() // 1_000_000 - older_than_ms
    turns = 2**53 if keep_turns is None else keep_turns
    return [id for (id,) in conn.execute(_PRUNABLE, {"keep": keep, "before": before, "turns": turns})]


_PRUNABLE = """
    WITH logs AS (SELECT id, seq, turns FROM sessions UNION ALL SELECT '', daemon_seq, 0 FROM meta)
    SELECT id FROM logs
    WHERE seq - coalesce((SELECT to_seq FROM gaps WHERE session = logs.id), 0) > :keep
        OR (SELECT at FROM events WHERE session = logs.id ORDER BY seq LIMIT 1) < :before
        OR turns - (SELECT number FROM turns WHERE session = logs.id ORDER BY place LIMIT 1) >= :turns
    UNION ALL SELECT session FROM deleted WHERE NOT swept
"""


def prune(tx: Tx, session: str, *, keep: int, older_than_ms: int | None, keep_turns: int | None = None) -> int:
    """Remove a session's oldest events ('' = the daemon's own), beyond ``keep`` or too old; and its oldest ended turns.

    Args:
        older_than_ms: an age in ms; None: age does not matter. keep_turns: None keeps all turns.

    Returns how many events and turns went; call again while it is not 0.
    """
    if tx.conn.execute("SELECT 1 FROM deleted WHERE session = ?", (session,)).fetchone():
        return sweep(tx, session)
    removed = _prune_events(tx, session, keep, older_than_ms)
    return removed if keep_turns is None else removed + _prune_turns(tx, session, keep_turns)


def sweep(tx: Tx, session: str) -> int:
    """Remove a piece of what a deleted session has left, which no reader sees any more. Returns how much went."""
    events = """
        DELETE FROM events WHERE session = ?1 AND seq <= (SELECT to_seq FROM gaps WHERE session = ?1)
        AND seq < ?2 + (SELECT min(seq) FROM events WHERE session = ?1)
    """
    removed = tx.conn.execute(events, (session, EVENTS)).rowcount + _remove_turns(tx, session, "true", TURNS)
    tx.conn.execute(f"UPDATE deleted SET swept = 1 WHERE session = ?1 AND {_NOTHING_LEFT}", (session,))
    return removed


_NOTHING_LEFT = """
    NOT EXISTS (SELECT 1 FROM turns WHERE session = ?1)
    AND NOT EXISTS (
        SELECT 1 FROM events WHERE session = ?1 AND seq <= (SELECT to_seq FROM gaps WHERE session = ?1)
    )
"""


def _prune_events(tx: Tx, session: str, keep: int, older_than_ms: int | None) -> int:
    row = tx.conn.execute("SELECT max(seq) FROM events WHERE session = ?", (session,)).fetchone()
    beyond = (row[0] or 0) - keep
    before = -1 if older_than_ms is None else tx.now - older_than_ms
    last, removed = None, 0
    oldest = "SELECT seq, offset, at FROM events WHERE session = ? ORDER BY seq LIMIT ?"
    for seq, offset, at in tx.conn.execute(oldest, (session, EVENTS)):
        if seq > beyond and at >= before:
            break
        last, removed = (seq, offset, at), removed + 1
    if last is not None:
        tx.conn.execute("DELETE FROM events WHERE session = ? AND seq <= ?", (session, last[0]))
        tx.conn.execute("INSERT OR REPLACE INTO gaps VALUES (?, ?, ?, ?)", (session, *last))
    return removed


def _prune_turns(tx: Tx, session: str, keep: int) -> int:
    ended = "state NOT IN ('queued', 'running', 'waiting')"
    sql = f"SELECT count(*) FROM turns WHERE session = ? AND {ended}"
    count: int = tx.conn.execute(sql, (session,)).fetchone()[0]
    return _remove_turns(tx, session, ended, min(TURNS, max(0, count - keep)))


def _remove_turns(tx: Tx, session: str, which: str, limit: int) -> int:
    """Remove the oldest turns with their items: ``limit`` at most, and fewer if their content is long."""
    size = "(SELECT total(kept) FROM items WHERE turn = turns.id)"
    oldest = f"SELECT id, {size} FROM turns WHERE session = ? AND {which} ORDER BY place LIMIT ?"
    gone: list[tuple[str]] = []
    total = 0
    for id, kept in tx.conn.execute(oldest, (session, limit)):
        total += kept
        if gone and total > BYTES:
            break
        gone.append((id,))
    tx.conn.executemany("DELETE FROM chunks WHERE item IN (SELECT id FROM items WHERE turn = ?)", gone)
    tx.conn.executemany("DELETE FROM turns WHERE id = ?", gone)
    return len(gone)
