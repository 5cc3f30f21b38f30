"""Old records removed, a bounded number at a call. Numbers never change: readers find a gap where events were."""

from .tx import Tx

PIECE = 5000
"""Events, or 500 turns, removed by one call: what waits behind it waits for no more."""


def prune(tx: Tx, session: str, *, keep: int, older_than_ms: int | None) -> int:
    """Remove the oldest events of a session ('' = the daemon's own): those beyond ``keep``, and those too old.

    Args:
        older_than_ms: an age in ms. None: age does not matter.

    Returns how many went; call again while it is not 0.
    """
    row = tx.conn.execute("SELECT max(seq) FROM events WHERE session = ?", (session,)).fetchone()
    beyond = (row[0] or 0) - keep
    before = -1 if older_than_ms is None else tx.now - older_than_ms
    oldest = "SELECT seq, offset, at FROM events WHERE session = ? ORDER BY seq LIMIT ?"
    last, removed = None, 0
    for seq, offset, at in tx.conn.execute(oldest, (session, PIECE)):
        if seq > beyond and at >= before:
            break
        last, removed = (seq, offset, at), removed + 1
    if last is not None:
        tx.conn.execute("DELETE FROM events WHERE session = ? AND seq <= ?", (session, last[0]))
        tx.conn.execute("INSERT OR REPLACE INTO gaps VALUES (?, ?, ?, ?)", (session, *last))
    return removed


def prune_turns(tx: Tx, session: str, *, keep: int) -> int:
    """Remove the oldest ended turns beyond ``keep``, with their items. Returns how many went."""
    sql = """
        SELECT id FROM turns WHERE session = ? AND state NOT IN ('queued', 'running', 'waiting')
        ORDER BY place DESC LIMIT ? OFFSET ?
    """
    gone = tx.conn.execute(sql, (session, PIECE // 10, keep)).fetchall()
    chunks = "DELETE FROM chunks WHERE item IN (SELECT id FROM items WHERE turn = ?)"
    tx.conn.executemany(chunks, gone)
    tx.conn.executemany("DELETE FROM turns WHERE id = ?", gone)
    return len(gone)
