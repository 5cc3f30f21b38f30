"""The children that were started and are not known to have ended, and by whom: what a next daemon must look for."""

import os
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


class Keeper(NamedTuple):
    """A roostd that has started children; ``start_time`` as that of a child. ``socket``: the path in their marks."""

    pid: int
    start_time: int
    boot_id: str
    socket: str


def keeps(tx: Tx, keeper: Keeper) -> None:
    """Record who starts children, with each of them: without it, nobody could tell whose they are. Twice is once."""
    # A path need not be UTF-8.
    row = (*keeper[:3], os.fsencode(keeper.socket))
    tx.conn.execute("INSERT OR IGNORE INTO daemons VALUES (?, ?, ?, ?)", row)


def keepers(conn: sqlite3.Connection) -> list[Keeper]:
    """The roostds of which something may be left, and the one of whose database this is a copy."""
    rows = conn.execute("SELECT pid, start_time, boot_id, socket FROM daemons")
    return [Keeper(pid, start_time, boot_id, os.fsdecode(socket)) for pid, start_time, boot_id, socket in rows]


def forget_keepers(tx: Tx) -> None:
    """Nothing that they started is left."""
    tx.conn.execute("DELETE FROM daemons")


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
