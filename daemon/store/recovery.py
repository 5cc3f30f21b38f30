"""What a daemon that died left unfinished, settled one session a transaction, children first. Twice is once."""

import sqlite3

from ...protocol.model import ItemState, SessionState, Turn, TurnState
from ..core.states import SessionEvent
from . import after, items, sessions, turns
from .rows import ITEMS, TURNS
from .tx import Tx


def unfinished(conn: sqlite3.Connection) -> list[str]:
    """Sessions of which something is not settled. Three partial indexes answer: the cost is that of what is found."""
    return [id for (id,) in conn.execute(UNFINISHED)]


UNFINISHED = """
    SELECT id FROM sessions WHERE state NOT IN ('idle', 'failed')
    UNION SELECT session FROM turns WHERE state IN ('running', 'waiting')
    UNION SELECT session FROM items WHERE state = 'in_progress'
"""


def recover(tx: Tx, session_id: str, *, reason: str = "daemon_restart", idle: bool = True) -> list[str]:
    """Interrupt what ran in a session. Queued turns stay queued. Returns the turns that were interrupted, oldest first.

    Args:
        idle: nothing of its children lives any more; else it is still stopping.

    Raises:
        SessionNotFound
    """
    live = "WHERE session = ? AND state IN ('running', 'waiting') ORDER BY number"
    ran = TURNS.all(tx.conn, live, (session_id,))
    interrupted = [_interrupt(tx, turn, reason) for turn in ran]
    for item in ITEMS.all(tx.conn, "WHERE session = ? AND state = 'in_progress'", (session_id,)):
        items.close(tx, item, ItemState.interrupted, {})
    state = tx.session(session_id).state
    if idle and state not in (SessionState.idle, SessionState.failed):
        sessions.change(tx, session_id, SessionEvent.gone, reason=reason)
    elif not idle and state not in (SessionState.failed, SessionState.stopping):
        sessions.change(tx, session_id, SessionEvent.stop, reason=reason)
    if interrupted:
        after.follow(tx, interrupted[-1], ran[-1].cancelling)
    return [turn.id for turn in interrupted]


def _interrupt(tx: Tx, turn: Turn, reason: str) -> Turn:
    # The wall clock may have been set back since the turn started
    duration = max(0, tx.now - (turn.started_at or tx.now))
    return turns.close(tx, turn.id, TurnState.interrupted, reason, duration=duration)
