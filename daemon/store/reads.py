"""Queries: sessions and turns by what people type, lists by the page. Each takes a connection in one transaction."""

import sqlite3
from typing import Any

from ...protocol.errors import AmbiguousId
from ...protocol.model import Item, ItemState, Session, Turn, TurnState
from ...protocol.rpc import pack
from . import content
from .log import events, last
from .retention import prunable
from .rows import ITEMS, SESSIONS, TURNS
from .tx import item_not_found, session_not_found, turn_not_found

__all__ = [
    "all_sessions",
    "events",
    "history",
    "item_bytes",
    "items",
    "last",
    "prunable",
    "session",
    "turn",
    "turns",
    "unknown",
    "with_work",
]

MAX_BYTES = 900_000
"""Of one page; a single record may be longer."""
CANDIDATES = 10
"""Ids that an ambiguous one names."""
HISTORY_CHARS = 2000


def session(conn: sqlite3.Connection, ref: str) -> Session:
    """The session with this id, or the only one with this name or whose id starts like this.

    Raises:
        SessionNotFound
        AmbiguousId: it could be two; names them.
    """
    if exact := SESSIONS.get(conn, ref):
        return exact
    named = SESSIONS.all(conn, f"WHERE name = ? ORDER BY archived, n DESC LIMIT {CANDIDATES + 1}", (ref,))
    started = _starting(conn, "sessions", ref)
    if named and len(started) == 1 and started[0] not in [one.id for one in named]:
        named += SESSIONS.all(conn, "WHERE id = ?", started)
    elif not named:
        named = SESSIONS.all(conn, "WHERE id = ?", (_only(ref, started),))
    if not named:
        raise session_not_found(ref)
    if len(named) > 1:
        raise _ambiguous(ref, [one.id for one in named], [_told(one, ref) for one in named], "use the id")
    return named[0]


def _told(session: Session, ref: str) -> str:
    """What makes ``session`` one of those that ``ref`` could be."""
    if session.name != ref:
        return f"{session.id} (by its id)"
    return f"{session.id} (archived)" if session.archived else session.id


def turn(conn: sqlite3.Connection, ref: str) -> Turn:
    """The turn with this id, or the only one whose id starts like this.

    Raises:
        TurnNotFound, AmbiguousId
    """
    found = TURNS.get(conn, ref) or TURNS.get(conn, _only(ref, _starting(conn, "turns", ref)))
    if found is None or not _is_there(conn, found.session):
        raise turn_not_found(ref)
    return found


def _is_there(conn: sqlite3.Connection, session: str) -> bool:
    """False: the session was deleted, and what is left of it is being swept."""
    return conn.execute("SELECT 1 FROM sessions WHERE id = ?", (session,)).fetchone() is not None


def unknown(conn: sqlite3.Connection, ids: list[str]) -> list[str]:
    """Those of ``ids`` that no session has."""
    return [id for id in ids if not _is_there(conn, id)]


def _starting(conn: sqlite3.Connection, table: str, start: str) -> list[str]:
    """The first ids that start like this, one more than an error names."""
    sql = f"SELECT id FROM {table} WHERE id >= ? AND id < ? ORDER BY id LIMIT {CANDIDATES + 1}"
    return [id for (id,) in conn.execute(sql, (start, start + chr(0x10FFFF)))]


def _only(start: str, found: list[str]) -> str:
    """The only id that was found; '' if there is none."""
    if len(found) > 1:
        raise _ambiguous(start, found, found, "type more of it")
    return found[0] if found else ""


def _ambiguous(ref: str, ids: list[str], told: list[str], advice: str) -> AmbiguousId:
    some = ", ".join(told[:CANDIDATES]) + (", …" if len(told) > CANDIDATES else "")
    return AmbiguousId(f"{ref!r} could be {some}; {advice}", ref=ref, candidates=ids[:CANDIDATES])


def all_sessions(conn: sqlite3.Connection) -> list[Session]:
    """Every session, oldest first, archived ones too."""
    return SESSIONS.all(conn, "ORDER BY n")


def with_work(conn: sqlite3.Connection) -> list[Session]:
    """Sessions that have queued turns, on hold or not; by a partial index."""
    return SESSIONS.all(conn, "WHERE queued > 0")


def turns(
    conn: sqlite3.Connection,
    session: str,
    state: TurnState | None = None,
    limit: int = 100,
    cursor: int = 0,
    newest: bool = False,
) -> tuple[list[Turn], int | None]:
    """A page of the session's turns in the order they ran and will run, and the cursor of the next page.

    Args:
        session: an id. cursor: 0 for the first page. newest: the other way round, except for queued turns alone.
    """
    down = newest and state is not TurnState.queued
    where, params = ["session = ?"], [session]
    if state is not None:
        where.append(f"state = '{state}'")
    if cursor:
        where.append(f"place {'<' if down else '>'} {int(cursor)}")
    columns = TURNS.select.replace(" FROM ", ", place FROM ", 1)
    sql = f"{columns} WHERE {' AND '.join(where)} ORDER BY place {'DESC' if down else 'ASC'} LIMIT ?"
    page: list[Turn] = []
    size = 0
    for *row, place in conn.execute(sql, (*params, limit + 1)):
        turn = TURNS.load(tuple(row))
        size += len(pack(turn.to_wire()))  # a problem may be long, too
        if page and (len(page) == limit or size > MAX_BYTES):
            return page, cursor
        page.append(turn)
        cursor = place
    return page, None


def items(conn: sqlite3.Connection, turn: str, after: int = 0) -> tuple[list[Item], int | None]:
    """A page of the turn's items with a greater number than ``after``, and ``after`` of the next page."""
    page: list[Item] = []
    size = 0
    for row in conn.execute(f"{ITEMS.select} WHERE turn = ? AND number > ? ORDER BY number", (turn, after)):
        item = ITEMS.load(row)
        if item.state is ItemState.in_progress:
            item = content.grown(conn, item)
        size += len(item.content.encode()) + len(item.tail.encode()) + len(pack(item.data)) + 500
        if page and size > MAX_BYTES:
            return page, page[-1].number
        page.append(item)
    return page, None


def item_bytes(conn: sqlite3.Connection, item: str, offset: int, limit: int) -> tuple[bytes, int | None, int, int]:
    """A piece of an item's content: the bytes, the offset to go on at (None at the end), its size, and what is kept.

    Raises:
        ItemNotFound
    """
    found = ITEMS.get(conn, item)
    if found is None or not _is_there(conn, found.session):
        raise item_not_found(item)
    data = content.read(conn, found, offset, min(offset + limit, found.kept))
    end = offset + len(data)
    return data, end if end < found.kept and data else None, found.bytes, found.kept


def history(conn: sqlite3.Connection, session: str, n: int) -> list[dict[str, Any]]:
    """The session's last ``n`` turns that have ended, oldest first, their prompts cut."""
    sql = f"""
        SELECT id, number, substr(input, 1, {HISTORY_CHARS}), state FROM turns
        WHERE session = ? AND state NOT IN ('queued', 'running', 'waiting') ORDER BY place DESC LIMIT ?
    """
    rows = conn.execute(sql, (session, n)).fetchall()
    return [{"turn": id, "number": number, "input": text, "state": state} for id, number, text, state in reversed(rows)]


def last_event_at(conn: sqlite3.Connection) -> int | None:
    """When the newest event there is happened, in unix milliseconds."""
    row = conn.execute("SELECT at FROM events ORDER BY offset DESC LIMIT 1").fetchone()
    return None if row is None else row[0]
