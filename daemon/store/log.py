"""Events read back, of one session or of all, with a gap told where retention removed some."""

import sqlite3
from collections.abc import Iterator, Sequence
from heapq import merge

from ...protocol.rpc import pack
from .tx import Stored, session_not_found

SCAN = 5000
"""Events looked at by one read when only some kinds are wanted."""
PRUNED = "events.pruned"


def events(
    conn: sqlite3.Connection,
    session: str | None,
    after: int,
    limit: int,
    kinds: Sequence[str] | None = None,
    max_bytes: int = 900_000,
) -> tuple[list[Stored], int, bool]:
    """One page of events: the events, ``after`` of the next page, and whether there is more now.

    Args:
        session: an id; '' for the daemon's own; None for all, and then ``after`` is an offset, not a seq.
        kinds: exact, or prefixes that end in a dot. A gap is always told, whatever was in it.

    A page may be empty and yet there is more: what was looked at was of other kinds.

    Raises:
        SessionNotFound
    """
    end = last(conn, session)
    page: list[Stored] = []
    size = 0
    scanned = 0
    for event in _all(conn, after) if session is None else _of(conn, session, after):
        number = event.offset if session is None else event.seq
        if kinds is None or event.kind == PRUNED or _wanted(event.kind, kinds):
            size += len(event.packed)
            if page and size > max_bytes:
                break
            page.append(event)
        after, scanned = number, scanned + 1
        if len(page) == limit or scanned == SCAN:
            break
    return page, after, after < end


def last(conn: sqlite3.Connection, session: str | None) -> int:
    """The last seq of a session ('' = the daemon's own), or with None the last offset.

    Raises:
        SessionNotFound: nor was there one lately.
    """
    if not session:
        column = "last_offset" if session is None else "daemon_seq"
        return int(conn.execute(f"SELECT {column} FROM meta").fetchone()[0])
    for sql in ("SELECT seq FROM sessions WHERE id = ?", "SELECT max(seq) FROM events WHERE session = ?"):
        row = conn.execute(sql, (session,)).fetchone()
        if row is not None and row[0] is not None:
            return int(row[0])
    raise session_not_found(session)


def _wanted(kind: str, kinds: Sequence[str]) -> bool:
    return any(kind == one or (one.endswith(".") and kind.startswith(one)) for one in kinds)


def _of(conn: sqlite3.Connection, session: str, after: int) -> Iterator[Stored]:
    for gap in conn.execute(f"{_GAP} WHERE session = ? AND to_seq > ?", (session, after)):
        yield _pruned(*gap)
        after = gap[1]
    sql = f"{_EVENT} WHERE session = ? AND seq > ? ORDER BY seq LIMIT {SCAN}"
    yield from map(Stored._make, conn.execute(sql, (session, after)))


def _all(conn: sqlite3.Connection, after: int) -> Iterator[Stored]:
    gaps = conn.execute(f"{_GAP} WHERE to_offset > ? ORDER BY to_offset LIMIT {SCAN}", (after,))
    sql = f"{_EVENT} WHERE offset > ? AND {_NOT_DELETED} ORDER BY offset LIMIT {SCAN}"
    found = map(Stored._make, conn.execute(sql, (after,)))
    return merge((_pruned(*gap) for gap in gaps), found, key=lambda event: event.offset)


_EVENT = "SELECT session, seq, offset, kind, packed FROM events"
_NOT_DELETED = "(kind = 'session.deleted' OR session NOT IN (SELECT session FROM deleted WHERE NOT swept))"
_GAP = "SELECT session, to_seq, to_offset, at FROM gaps"


def _pruned(session: str, seq: int, offset: int, at: int) -> Stored:
    """What stands for removed events: it has the numbers and the time of the last one."""
    data = {"from_seq": 1, "to_seq": seq}
    event = {"session": session or None, "seq": seq, "offset": offset, "at": at, "kind": PRUNED, "turn": None}
    return Stored(session, seq, offset, PRUNED, pack({**event, "data": data}))
