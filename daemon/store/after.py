"""What follows a turn that did not complete: hold what is queued behind it, go on, or send it again."""

from ...protocol.events import TURN_MOVED, TurnMoved
from ...protocol.model import AfterEnd, Session, SessionAuthor, Turn, TurnState
from . import queue
from .tx import Tx

ATTEMPTS = 3
"""How often a prompt is sent in all; after the last one the queue is held."""


def follow(tx: Tx, turn: Turn, cancelling: str | None = None) -> None:
    """Do what the session wants after ``turn``.

    Args:
        cancelling: why it was being cancelled when it ended otherwise. What a user does not want is not sent again.
    """
    session = tx.session(turn.session)
    wanted = {
        TurnState.failed: session.after.failed,
        TurnState.interrupted: session.after.interrupted,
        TurnState.cancelled: session.after.cancelled,
    }.get(turn.state, AfterEnd.proceed)
    if wanted is AfterEnd.retry and "user" not in (turn.reason, cancelling) and _attempts(tx, turn) < ATTEMPTS:
        _send_again(tx, session, turn)
    elif wanted is not AfterEnd.proceed:
        queue.hold(tx, session, str(turn.state), turn.id, SessionAuthor(session=session.id))


def _attempts(tx: Tx, turn: Turn) -> int:
    """How many turns there were with this prompt, ``turn`` included."""
    count, earlier = 1, turn.retry_of
    while earlier is not None and count < ATTEMPTS:
        row = tx.conn.execute("SELECT retry_of FROM turns WHERE id = ?", (earlier,)).fetchone()
        count, earlier = count + 1, row[0] if row else None
    return count


def _send_again(tx: Tx, session: Session, turn: Turn) -> None:
    following = queue.first(tx, session.id)
    limits = {"timeout": turn.timeout, "idle_timeout": turn.idle_timeout}
    again = queue.enqueue(tx, session, turn.input, **limits, retry_of=turn.id, author=turn.author)
    if following is not None:
        queue.place_before(tx, again, following.id)
        by = SessionAuthor(session=session.id).to_wire()
        tx.emit(session.id, TURN_MOVED, TurnMoved(before=following.id, author=by), turn=again.id)
