"""Operations on a session: made, changed, put away, deleted."""

import sqlite3
from collections.abc import Mapping
from typing import Any

from ...protocol.errors import NameTaken, SessionBusy
from ...protocol.events import (
    SESSION_ARCHIVED,
    SESSION_CREATED,
    SESSION_DELETED,
    SESSION_RELEASED,
    SESSION_STATE_CHANGED,
    SESSION_UNARCHIVED,
    SESSION_UPDATED,
    SessionArchived,
    SessionCreated,
    SessionDeleted,
    SessionReleased,
    SessionStateChanged,
    SessionUnarchived,
    SessionUpdated,
)
from ...protocol.model import DAEMON, After, Author, EngineKind, Limits, Noun, Problem, Session, SessionState, new_id
from ...protocol.rpc import pack, unpack
from ..core.states import SESSION, SessionEvent
from . import keys, retention
from .rows import SESSIONS
from .tx import Tx, session_not_found

MAX_DELETED = 10_000
"""Deleted sessions whose last event is kept."""

NO_LIMITS = Limits()

_SETTLED = (SessionState.idle, SessionState.failed)


def create(
    tx: Tx,
    *,
    name: str | None,
    engine: str,
    kind: EngineKind,
    workspace: str,
    env: Mapping[str, str],
    after: After,
    limits: Limits = NO_LIMITS,
    key: str | None,
    author: Author,
) -> Session:
    """Make an idle session; with a key that was used before, the session it made then, unless that was deleted.

    Raises:
        NameTaken, KeyConflict
    """
    content = [name, engine, workspace, dict(env), after.to_wire()]
    if limits != NO_LIMITS:  # else a key from before there were limits would be another one
        content.append(limits.to_wire())
    made = keys.recall(tx, "session", key, content)
    if made and SESSIONS.get(tx.conn, made):
        return tx.session(made)
    _refuse_taken(tx, name)
    now = tx.now
    session = Session(
        id=new_id("s"),
        name=name,
        engine=engine,
        kind=kind,
        workspace=workspace,
        after=after,
        limits=limits,
        created_at=now,
        updated_at=now,
        active_at=now,
    )
    tx.put_session(session)
    by = author.to_wire()
    tx.conn.execute("INSERT INTO environments VALUES (?, ?, ?)", (session.id, pack(dict(env)), pack(by)))
    keys.remember(tx, "session", key, content, session.id)
    shown = session.model_copy(update={"seq": 1}).to_wire()
    tx.emit(session.id, SESSION_CREATED, SessionCreated(session=shown, author=by))
    return tx.session(session.id)


def _refuse_taken(tx: Tx, name: str | None) -> None:
    """Names are unique among the sessions that are not archived, and none is another's id: it would not be found."""
    sql = "SELECT id FROM sessions WHERE name = ? AND archived = 0 UNION ALL SELECT id FROM sessions WHERE id = ?"
    row = tx.conn.execute(sql, (name, name)).fetchone()
    if row is not None:
        text = f"the session {row[0]} is called {name!r} already; choose another name or archive that one"
        raise NameTaken(text, name=name, session=row[0])


def update(
    tx: Tx,
    id: str,
    *,
    name: str | None = None,
    after: After | None = None,
    limits: Limits | None = None,
    author: Author = DAEMON,
) -> Session:
    """Change what is given.

    Raises:
        SessionNotFound, NameTaken
    """
    session = tx.session(id)
    changed: dict[str, Any] = {}
    if name is not None and name != session.name:
        if not session.archived:
            _refuse_taken(tx, name)
        changed["name"] = name
    if after is not None and after != session.after:
        changed["after"] = after
    if limits is not None and limits != session.limits:
        changed["limits"] = limits
    if changed:
        tx.put_session(session.model_copy(update=changed))
        shown = {field: value.to_wire() if isinstance(value, Noun) else value for field, value in changed.items()}
        tx.emit(id, SESSION_UPDATED, SessionUpdated(changed=shown, author=author.to_wire()))
    return tx.session(id)


def change(
    tx: Tx,
    id: str,
    event: SessionEvent,
    *,
    reason: str,
    pid: int | None = None,
    problem: Problem | None = None,
    author: Author | None = None,
) -> Session:
    """Take one step of the session's machine.

    Raises:
        SessionNotFound, IllegalTransition
    """
    session = tx.session(id)
    state = SESSION.next(session.state, event)
    fields: dict[str, Any] = {"state": state}
    if event in (SessionEvent.gone, SessionEvent.give_up):
        fields["pid"] = None
    elif pid is not None:
        fields["pid"] = pid
    if problem is not None:
        fields["failure"] = problem
    elif event is SessionEvent.ready:
        fields["failure"] = None
    tx.put_session(session.model_copy(update=fields))
    if state != session.state:
        data: SessionStateChanged = {"old": session.state, "new": state, "reason": reason}
        if pid is not None:
            data["pid"] = pid
        if problem is not None:
            data["problem"] = problem.to_wire()
        if author is not None:
            data["author"] = author.to_wire()
        tx.emit(id, SESSION_STATE_CHANGED, data)
    return tx.session(id)


def release(tx: Tx, id: str, reason: str = "user", author: Author = DAEMON) -> tuple[Session, int]:
    """Lift the hold. Returns the session and how many turns go on: 0 if there was no hold.

    Raises:
        SessionNotFound
    """
    session = tx.session(id)
    if session.hold is None:
        return session, 0
    tx.put_session(session.model_copy(update={"hold": None}))
    data = SessionReleased(reason=reason, queued=session.queued, author=author.to_wire())
    tx.emit(id, SESSION_RELEASED, data)
    return tx.session(id), session.queued


def archive(tx: Tx, id: str, author: Author = DAEMON) -> Session:
    """Put an idle or failed session away; done twice is done once.

    Raises:
        SessionNotFound, SessionBusy
    """
    session = tx.session(id)
    if session.archived:
        return session
    if session.state not in _SETTLED or session.turn or session.queued:
        text = f"session {id} is {session.state} with {session.queued} queued turns; stop it and empty its queue first"
        raise SessionBusy(text, session=id, state=session.state, queued=session.queued)
    tx.put_session(session.model_copy(update={"archived": True}))
    tx.emit(id, SESSION_ARCHIVED, SessionArchived(author=author.to_wire()))
    return tx.session(id)


def unarchive(tx: Tx, id: str, author: Author = DAEMON) -> Session:
    """Take an archived session back.

    Raises:
        SessionNotFound, NameTaken: its name was given to another meanwhile; rename it first.
    """
    session = tx.session(id)
    if not session.archived:
        return session
    _refuse_taken(tx, session.name)
    tx.put_session(session.model_copy(update={"archived": False}))
    tx.emit(id, SESSION_UNARCHIVED, SessionUnarchived(author=author.to_wire()))
    return tx.session(id)


def delete(tx: Tx, id: str, *, force: bool, author: Author = DAEMON) -> None:
    """Remove the session and all it holds. What stays is its last event, and a gap where the others were.

    Nobody sees the rest from now on. If it is much, pieces of it are left for ``retention.prune`` to remove.

    Raises:
        SessionNotFound, SessionBusy: a turn runs, or some are queued and ``force`` is not set.
    """
    session = tx.session(id)
    if session.turn is not None or (session.queued and not force):
        what = f"turn {session.turn} runs" if session.turn else f"{session.queued} turns are queued"
        raise SessionBusy(f"session {id} cannot be deleted: {what}; stop it or use force", session=id)
    last = "SELECT session, seq, offset, at FROM events WHERE session = ? ORDER BY seq DESC LIMIT 1"
    tx.conn.execute(f"INSERT OR REPLACE INTO gaps {last}", (id,))
    tx.drop_session(id)
    tx.emit(id, SESSION_DELETED, SessionDeleted(name=session.name, author=author.to_wire()))
    n = tx.conn.execute("INSERT INTO deleted (session, swept) VALUES (?, 0)", (id,)).lastrowid or 0
    retention.sweep(tx, id)
    _forget(tx, n - MAX_DELETED)


def _forget(tx: Tx, before: int) -> None:
    """Not even the last event stays of sessions that were deleted long ago."""
    long_ago = "SELECT session FROM deleted WHERE n <= ? AND swept LIMIT 2"
    for id in tx.conn.execute(long_ago, (before,)).fetchall():
        for table in ("events", "gaps", "deleted"):
            tx.conn.execute(f"DELETE FROM {table} WHERE session = ?", id)


def env(conn: sqlite3.Connection | Tx, id: str) -> dict[str, str]:
    """The variables that the session's children get.

    Raises:
        SessionNotFound
    """
    conn = conn.conn if isinstance(conn, Tx) else conn
    row = conn.execute("SELECT env FROM environments WHERE session = ?", (id,)).fetchone()
    if row is None:
        raise session_not_found(id)
    found: dict[str, str] = unpack(row[0])
    return found


def told(tx: Tx, id: str) -> Session:
    """The engine knows now which turn was cut off.

    Raises:
        SessionNotFound
    """
    session = tx.session(id)
    return tx.put_session(session.model_copy(update={"interrupted": None})) if session.interrupted else session
