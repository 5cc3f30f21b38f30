"""The queue of a session: which turn is next, in whose place, and what holds it."""

from typing import Any

from ...protocol.errors import TurnNotQueued
from ...protocol.events import SESSION_HELD, TURN_QUEUED, SessionHeld, TurnQueued
from ...protocol.model import DAEMON, Author, Hold, Session, Turn, TurnState, new_id
from .rows import TURNS
from .sessions import release
from .tx import STEP, Tx


def queued(tx: Tx, id: str) -> Turn:
    """The turn, if it waits to run.

    Raises:
        TurnNotFound, TurnNotQueued
    """
    turn = tx.turn(id)
    if turn.state is not TurnState.queued:
        text = f"turn {id} is {turn.state}: only a queued turn can be changed"
        raise TurnNotQueued(text, turn=id, state=turn.state)
    return turn


def held(session: Session) -> str | None:
    """Why the queue does not go on."""
    return session.hold.reason if session.hold else None


def enqueue(tx: Tx, session: Session, input: str, **fields: Any) -> Turn:
    """A new turn at the end of the queue."""
    number = session.turns + 1
    state = TurnState.queued
    turn = Turn(
        id=new_id("t"), session=session.id, number=number, state=state, input=input, created_at=tx.now, **fields
    )
    tx.put_turn(turn)
    counts = {"queued": session.queued + 1, "turns": number, "active_at": tx.now}
    tx.put_session(session.model_copy(update=counts))
    tx.emit(session.id, TURN_QUEUED, TurnQueued(turn=turn.to_wire(), held=held(session)), turn=turn.id)
    return turn


def first(tx: Tx, session: str) -> Turn | None:
    """The turn that runs next."""
    found = TURNS.all(tx.conn, "WHERE session = ? AND state = 'queued' ORDER BY place LIMIT 1", (session,))
    return found[0] if found else None


def ahead(tx: Tx, turn: Turn) -> int:
    """How many turns run before this one: those queued before it, and the one that runs."""
    if turn.state is not TurnState.queued:
        return 0
    sql = "SELECT count(*) FROM turns WHERE session = ? AND state = 'queued' AND place < ?"
    before: int = tx.conn.execute(sql, (turn.session, _place(tx, turn.id))).fetchone()[0]
    return before + (tx.session(turn.session).turn is not None)


def left(tx: Tx, session: Session, **fields: Any) -> Session:
    """One turn has left the queue. An empty queue cannot be on hold."""
    session = tx.put_session(session.model_copy(update={"queued": session.queued - 1, **fields}))
    return session if session.queued else release(tx, session.id, "empty")[0]


def hold(tx: Tx, session: Session, reason: str, turn: str | None = None, author: Author = DAEMON) -> None:
    """Park what is queued, unless it is parked already. ``turn``: whose end caused it."""
    if session.queued and session.hold is None:
        cause = Hold(reason=reason, turn=turn, at=tx.now)
        tx.put_session(session.model_copy(update={"hold": cause}))
        data = SessionHeld(reason=cause.reason, queued=session.queued, author=author.to_wire())
        tx.emit(session.id, SESSION_HELD, data)


def place_before(tx: Tx, turn: Turn, before: str | None) -> None:
    """Give ``turn`` the place before the queued turn ``before``; None: after all others."""
    if before is None:
        place = _last_place(tx, turn.session) + STEP
    else:
        place = _between(tx, turn, before)
    tx.conn.execute("UPDATE turns SET place = ? WHERE id = ?", (place, turn.id))


def _between(tx: Tx, turn: Turn, before: str) -> int:
    """A place right before the turn ``before``."""
    right = _place(tx, before)
    sql = "SELECT max(place) FROM turns WHERE session = ? AND place < ? AND id != ?"
    left: int = tx.conn.execute(sql, (turn.session, right, turn.id)).fetchone()[0] or 0
    if right - left < 2:
        _spread(tx, turn.session)
        return _between(tx, turn, before)
    return (left + right) // 2


def _spread(tx: Tx, session: str) -> None:
    """Make room again between the queued turns: so many were moved to one spot that no place is left in between."""
    base = _last_place(tx, session)
    sql = "SELECT id FROM turns WHERE session = ? AND state = 'queued' ORDER BY place"
    waiting = tx.conn.execute(sql, (session,)).fetchall()
    places = [(base + STEP * number, id) for number, (id,) in enumerate(waiting, start=1)]
    tx.conn.executemany("UPDATE turns SET place = ? WHERE id = ?", places)


def _place(tx: Tx, turn: str) -> int:
    place: int = tx.conn.execute("SELECT place FROM turns WHERE id = ?", (turn,)).fetchone()[0]
    return place


def _last_place(tx: Tx, session: str) -> int:
    place: int | None = tx.conn.execute("SELECT max(place) FROM turns WHERE session = ?", (session,)).fetchone()[0]
    return place or 0
