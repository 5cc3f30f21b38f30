"""What an operation sees of the database: records by id, and ``emit``. It lives on the writer's thread."""

import sqlite3
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from ...protocol.errors import ItemNotFound, LimitReached, SessionNotFound, TurnNotFound
from ...protocol.events import Kind
from ...protocol.model import Item, Session, Turn
from ...protocol.rpc import pack
from .rows import ITEMS, SESSIONS, TURNS

T = TypeVar("T")

MAX_EVENT = 1024 * 1024 - 4096
"""Bytes of one packed event: with what a reply puts round it, it stays below 1 MiB."""


class Stored(NamedTuple):
    """One committed event. ``session`` is '' for the daemon's own; ``packed`` is a map as ``model.Event`` has it."""

    session: str
    seq: int
    offset: int
    kind: str
    packed: bytes


class Commit(NamedTuple):
    """What one committed operation changed, in order. A session that is None was deleted."""

    events: list[Stored]
    sessions: dict[str, Session | None]
    turns: list[Turn]


class Counters:
    """What every commit stores: the last offset, the last seq of the daemon's own, the commit's own number."""

    def __init__(self, offset: int, daemon_seq: int, marker: int) -> None:
        self.offset = offset
        self.daemon_seq = daemon_seq
        self.marker = marker

    def copy(self) -> "Counters":
        return Counters(self.offset, self.daemon_seq, self.marker)


class Tx:
    """One operation's view. Sessions and events are written when it ends, turns and items at once.

    Attributes:
        conn: for queries. now: unix ms, read once.
    """

    def __init__(self, conn: sqlite3.Connection, now: int, counters: Counters, known: Mapping[str, Session]) -> None:
        self.conn = conn
        self.now = now
        self.counters = counters
        self._known = known
        self._records: dict[str, Session | None] = {}
        self._seqs: dict[str, int] = {}  # of the sessions that this operation touches
        self._changed: set[str] = set()  # those whose record changes too
        self._events: list[Stored] = []
        self._turns: dict[str, Turn] = {}

    def session(self, id: str) -> Session:
        """Raises: SessionNotFound."""
        session = self._record(id)
        if session is None:
            raise session_not_found(id)
        seq = self._seqs.get(id)
        return session if seq is None else session.model_copy(update={"seq": seq})

    def _record(self, id: str) -> Session | None:
        if id not in self._records:
            self._records[id] = self._known.get(id) or SESSIONS.get(self.conn, id)
        return self._records[id]

    def put_session(self, session: Session) -> Session:
        """Keep ``session``; its ``seq`` and ``updated_at`` are the store's own business."""
        before = self._record(session.id)
        session = session.model_copy(update={"updated_at": self.now})
        if before is None:
            SESSIONS.put(self.conn, session)
        self._seqs.setdefault(session.id, before.seq if before else 0)
        self._records[session.id] = session
        self._changed.add(session.id)
        return session

    def drop_session(self, id: str) -> None:
        """Delete the session's row and what refers to it. It may still emit: its numbers go on."""
        self._seqs.setdefault(id, self.session(id).seq)
        self._records[id] = None
        self._changed.discard(id)
        self.conn.execute("DELETE FROM sessions WHERE id = ?", (id,))

    def turn(self, id: str) -> Turn:
        """Raises: TurnNotFound."""
        turn = self._turns.get(id) or TURNS.get(self.conn, id)
        if turn is None:
            raise turn_not_found(id)
        return turn

    def put_turn(self, turn: Turn) -> Turn:
        """Write ``turn``; a new one becomes the last of its session."""
        self._turns[turn.id] = turn
        if TURNS.put(self.conn, turn):
            self.conn.execute(_APPEND, (turn.session, turn.id))
        return turn

    def item(self, id: str) -> Item:
        """The item's row: without content while it is in progress.

        Raises:
            ItemNotFound
        """
        item = ITEMS.get(self.conn, id)
        if item is None:
            raise item_not_found(id)
        return item

    def put_item(self, item: Item) -> Item:
        ITEMS.put(self.conn, item)
        return item

    def emit(self, session_id: str, kind: Kind[T], data: T, turn: str | None = None) -> None:
        """Add one event, numbered within the session ('' = the daemon's own) and daemon-wide.

        Raises:
            LimitReached: it would be over 1 MiB.
            SessionNotFound
        """
        seq, offset = self._last_seq(session_id) + 1, self.counters.offset + 1
        event = {"session": session_id or None, "seq": seq, "offset": offset, "at": self.now}
        packed = pack(event | {"kind": kind, "turn": turn, "data": data})
        if len(packed) > MAX_EVENT:
            text = f"the event {kind} would be {len(packed)} bytes; no event is over 1 MiB: send less at once"
            raise LimitReached(text, kind=kind, bytes=len(packed), limit=MAX_EVENT)
        self._count(session_id, seq, offset)
        self._events.append(Stored(session_id, seq, offset, str(kind), packed))

    def _last_seq(self, session_id: str) -> int:
        if not session_id:
            return self.counters.daemon_seq
        seq = self._seqs.get(session_id)
        return self.session(session_id).seq if seq is None else seq

    def _count(self, session_id: str, seq: int, offset: int) -> None:
        self.counters.offset = offset
        if session_id:
            self._seqs[session_id] = seq
        else:
            self.counters.daemon_seq = seq

    def finish(self) -> Commit:
        """Write sessions and events; what the operation changed. The writer's business, not an operation's."""
        sessions = {id: self._finished(id, seq) for id, seq in self._seqs.items()}
        rows = [(offset, session, seq, self.now, kind, packed) for session, seq, offset, kind, packed in self._events]
        self.conn.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", rows)
        return Commit(self._events, sessions, list(self._turns.values()))

    def _finished(self, id: str, seq: int) -> Session | None:
        session = self._records[id]
        if session is None:
            return None
        session = SESSIONS.changed(session, seq=seq)
        if id in self._changed:
            SESSIONS.put(self.conn, session)
        else:
            self.conn.execute("UPDATE sessions SET seq = ? WHERE id = ?", (seq, id))
        return session


STEP = 1 << 20
"""Between the places of two turns, so that others can be moved in between."""

_APPEND = f"""
    UPDATE turns SET place = {STEP} + (SELECT max(place) FROM turns WHERE session = ?) WHERE id = ?
"""


def session_not_found(ref: str) -> SessionNotFound:
    return SessionNotFound(f"there is no session {ref!r}; `roost ls` lists them", session=ref)


def turn_not_found(ref: str) -> TurnNotFound:
    return TurnNotFound(f"there is no turn {ref!r}; `roost show SESSION` lists them", turn=ref)


def item_not_found(ref: str) -> ItemNotFound:
    return ItemNotFound(f"there is no item {ref!r}; `roost show SESSION` lists them", item=ref)
