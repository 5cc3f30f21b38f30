"""The children that are not known to have ended, and their keeper: all that a next daemon must look for."""

import os
import sqlite3
from typing import NamedTuple

from .tx import Tx


class Child(NamedTuple):
    """A child as it was recorded at its start. ``start_time`` is in clock ticks since boot, of the boot ``boot_id``."""

    owner: str
    leaf: str
    pid: int
    start_time: int
    boot_id: str
    pgid: int
    sid: int


class Keeper(NamedTuple):
    """The roostd that serves the database; ``start_time`` as that of a child.

    Attributes:
        socket: the path in the marks of its children.
        directory: device and inode of its state directory; empty where an older roostd has not recorded it.
    """

    pid: int
    start_time: int
    boot_id: str
    socket: str
    directory: str


def keeps(tx: Tx, keeper: Keeper) -> None:
    """Record the daemon that starts children from now on. Twice is once."""
    # A path need not be UTF-8.
    row = (*keeper[:3], os.fsencode(keeper.socket), keeper.directory)
    tx.conn.execute("INSERT OR REPLACE INTO keeper VALUES (1, ?, ?, ?, ?, ?)", row)


def keeper(conn: sqlite3.Connection) -> Keeper | None:
    """The roostd that last served this database, or the database of which this is a copy."""
    row = conn.execute("SELECT pid, start_time, boot_id, socket, directory FROM keeper").fetchone()
    if row is None:
        return None
    pid, start_time, boot_id, socket, directory = row
    return Keeper(pid, start_time, boot_id, os.fsdecode(socket), directory)


def spawned(tx: Tx, child: Child) -> None:
    """Record a child, before it is told anything."""
    tx.conn.execute("INSERT OR REPLACE INTO children VALUES (?, ?, ?, ?, ?, ?, ?)", child)


def ended(tx: Tx, owner: str, leaf: str, pid: int) -> None:
    """The child and all it started are gone."""
    tx.conn.execute("DELETE FROM children WHERE owner = ? AND leaf = ? AND pid = ?", (owner, leaf, pid))


def recorded(conn: sqlite3.Connection) -> list[Child]:
    """The children that a dead daemon left."""
    return [
        Child(*row) for row in conn.execute("SELECT owner, leaf, pid, start_time, boot_id, pgid, sid FROM children")
    ]


def known(conn: sqlite3.Connection, ids: list[str]) -> set[str]:
    """Those of the session ids that are in this store."""
    return {id for one in ids for (id,) in conn.execute("SELECT id FROM sessions WHERE id = ?", (one,))}
