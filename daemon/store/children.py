"""The children that were started and are not known to have ended: what a next daemon must look for."""

import sqlite3
from typing import NamedTuple

from .tx import Tx


class Child(NamedTuple):
    """A child as it was recorded at its start. ``start_time`` is in clock ticks since boot, of the boot ``boot_id``."""

    session: str
    pid: int
    start_time: int
    boot_id: str
    pgid: int
    sid: int


def spawned(tx: Tx, session: str, pid: int, start_time: int, boot_id: str, pgid: int, sid: int) -> None:
    """Record a child, before it is told anything."""
    child = Child(session, pid, start_time, boot_id, pgid, sid)
    tx.conn.execute("INSERT OR REPLACE INTO children VALUES (?, ?, ?, ?, ?, ?)", child)


def ended(tx: Tx, session: str, pid: int) -> None:
    """The child and all it started are gone."""
    tx.conn.execute("DELETE FROM children WHERE session = ? AND pid = ?", (session, pid))


def recorded(conn: sqlite3.Connection) -> list[Child]:
    """What a dead predecessor left."""
    return [Child(*row) for row in conn.execute("SELECT session, pid, start_time, boot_id, pgid, sid FROM children")]


def known(conn: sqlite3.Connection, ids: list[str]) -> set[str]:
    """Those of the session ids that are in this store."""
    return {id for one in ids for (id,) in conn.execute("SELECT id FROM sessions WHERE id = ?", (one,))}
