"""Operations on a turn: sent, claimed, ended, cancelled, and changed while it waits."""

from typing import Any, Literal

from ...protocol.errors import QueueFull, SessionArchived, TurnNotFound, TurnNotQueued
from ...protocol.events import (
    TURN_CANCEL_REQUESTED,
    TURN_EDITED,
    TURN_ENDS,
    TURN_MOVED,
    TURN_STARTED,
    TurnCancelRequested,
    TurnEdited,
    TurnEnded,
    TurnMoved,
    TurnStarted,
)
from ...protocol.model import DAEMON, Author, EngineKind, Problem, Session, Turn, TurnState
from ..core.states import TURN, TURN_END, SessionEvent, TurnEvent
from . import after, checkpoints, items, keys, queue, sessions
from .tx import Tx

Outcome = Literal["cancelled", "requested", "ended"]


def send(
    tx: Tx,
    session: str,
    *,
    input: str,
    timeout: int | None,
    idle_timeout: int | None,
    retry_of: str | None,
    key: str | None,
    author: Author,
    limit: int,
) -> tuple[Turn, str | None, int]:
    """Queue a prompt. Returns the turn, why the queue is held (None: it is not), and how many turns are before it.

    Args:
        timeout, idle_timeout: ms. limit: of queued turns in the session.

    Raises:
        SessionNotFound, SessionArchived, QueueFull, KeyConflict, TurnNotFound: ``retry_of`` is not of this session.
    """
    record = tx.session(session)
    content = [session, input, timeout, idle_timeout, retry_of]
    if made := keys.recall(tx, "turn", key, content):
        turn = tx.turn(made)
        return turn, queue.held(record), queue.ahead(tx, turn)
    _refuse(tx, record, retry_of, limit)
    fields = {"timeout": timeout, "idle_timeout": idle_timeout, "retry_of": retry_of, "author": author}
    turn = queue.enqueue(tx, record, input, **fields)
    keys.remember(tx, "turn", key, content, turn.id)
    return turn, queue.held(record), record.queued + (record.turn is not None)


def _refuse(tx: Tx, session: Session, retry_of: str | None, limit: int) -> None:
    if session.archived:
        text = f"session {session.id} is archived; take it back first: roost unarchive {session.id}"
        raise SessionArchived(text, session=session.id)
    if session.queued >= limit:
        text = f"{session.queued} turns are queued in session {session.id}; wait for some to end, or remove some"
        raise QueueFull(text, session=session.id, limit=limit)
    if retry_of is not None and tx.turn(retry_of).session != session.id:
        raise TurnNotFound(f"turn {retry_of} is of another session; send the prompt as a new one", turn=retry_of)


def first_queued(tx: Tx, session: str) -> Turn | None:
    """The turn that runs next, on hold or not."""
    return queue.first(tx, session)


def claim(tx: Tx, session: str) -> Turn | None:
    """Start the first queued turn. None: nothing is queued, the queue is on hold, or a turn runs.

    Raises:
        SessionNotFound, IllegalTransition: the session is not ready for a turn.
    """
    record = tx.session(session)
    if record.turn is not None or record.hold is not None:
        return None
    turn = queue.first(tx, session)
    if turn is None:
        return None
    state = TURN.next(turn.state, TurnEvent.start)
    sessions.change(tx, session, SessionEvent.begin, reason="turn")
    turn = tx.put_turn(turn.model_copy(update={"state": state, "started_at": tx.now}))
    queue.left(tx, tx.session(session), turn=turn.id)
    tx.emit(session, TURN_STARTED, TurnStarted(number=turn.number), turn=turn.id)
    return turn


def end(
    tx: Tx,
    turn: str,
    *,
    state: TurnState,
    reason: str | None = None,
    problem: Problem | None = None,
    exit_code: int | None = None,
    duration: int | None = None,
    engine_state: bytes | None = None,
    alive: bool,
) -> Turn:
    """End a turn that runs, with its items, its engine's state and what follows from it, in one.

    Args:
        duration: ms. engine_state: packed, kept as the checkpoint ``latest``. alive: the child lives on; an engine of
            kind ``command`` has none.

    Raises:
        TurnNotFound, IllegalTransition
    """
    cancelling = tx.turn(turn).cancelling
    ended = close(tx, turn, state, reason, problem, exit_code, duration, engine_state is not None)
    session = tx.session(ended.session)
    if engine_state is not None:
        checkpoints.keep_latest(tx, session.id, engine_state, ended.id)
    if session.kind is EngineKind.command:
        sessions.change(tx, session.id, SessionEvent.gone, reason=f"turn_{state}")
    elif alive:
        sessions.change(tx, session.id, SessionEvent.finish, reason=f"turn_{state}")
    after.follow(tx, ended, cancelling)
    return ended


def close(
    tx: Tx,
    id: str,
    state: TurnState,
    reason: str | None,
    problem: Problem | None = None,
    exit_code: int | None = None,
    duration: int | None = None,
    saved: bool = False,
) -> Turn:
    """The turn's own end: its items, its record, its event, and what its session says of it."""
    turn = tx.turn(id)
    state = TURN.next(turn.state, TURN_END[state])
    items.settle(tx, turn, state)
    fields = {"state": state, "reason": reason or turn.cancelling, "problem": problem, "exit_code": exit_code}
    turn = tx.put_turn(turn.model_copy(update={**fields, "duration": duration, "ended_at": tx.now, "cancelling": None}))
    _ended(tx, turn, saved)
    session = tx.session(turn.session)
    last: dict[str, Any] = {"last_turn": id, "last_turn_state": state, "active_at": tx.now}
    if session.turn == id:
        last["turn"] = None
    if state is TurnState.interrupted:
        last["interrupted"] = id
    tx.put_session(session.model_copy(update=last))
    return turn


def _ended(tx: Tx, turn: Turn, saved: bool = False) -> None:
    data: TurnEnded = {
        "reason": turn.reason,
        "problem": turn.problem.to_wire() if turn.problem else None,
        "exit_code": turn.exit_code,
        "duration": turn.duration,
        "state_saved": saved,
    }
    if turn.cancelled_by is not None:
        data["author"] = turn.cancelled_by.to_wire()
    tx.emit(turn.session, TURN_ENDS[turn.state], data, turn=turn.id)


def request_cancel(tx: Tx, turn: str, *, reason: str, author: Author) -> tuple[Turn, Outcome]:
    """Cancel a turn: at once if it waits, else mark it. The first reason and author stay.

    Raises:
        TurnNotFound
    """
    record = tx.turn(turn)
    if TURN.terminal(record.state):
        return record, "ended"
    if record.state is TurnState.queued:
        return _withdraw(tx, record, reason, author), "cancelled"
    if record.cancelling is None:
        record = tx.put_turn(record.model_copy(update={"cancelling": reason, "cancelled_by": author}))
        data = TurnCancelRequested(reason=reason, author=author.to_wire())
        tx.emit(record.session, TURN_CANCEL_REQUESTED, data, turn=turn)
    return record, "requested"


def _withdraw(tx: Tx, turn: Turn, reason: str, author: Author) -> Turn:
    """Cancel a turn that waits."""
    state = TURN.next(turn.state, TurnEvent.cancel)
    fields = {"state": state, "reason": reason, "cancelled_by": author, "ended_at": tx.now}
    turn = tx.put_turn(turn.model_copy(update=fields))
    _ended(tx, turn)
    queue.left(tx, tx.session(turn.session))
    return turn


def fail_queued(tx: Tx, turn: str, problem: Problem) -> Turn:
    """End a turn whose engine cannot be started; what follows a failed turn follows.

    Raises:
        TurnNotFound, TurnNotQueued
    """
    record = queue.queued(tx, turn)
    state = TURN.next(record.state, TurnEvent.fail)
    fields = {"state": state, "reason": problem.name, "problem": problem, "ended_at": tx.now}
    record = tx.put_turn(record.model_copy(update=fields))
    _ended(tx, record)
    last = {"last_turn": turn, "last_turn_state": state, "active_at": tx.now}
    queue.left(tx, tx.session(record.session), **last)
    after.follow(tx, record)
    return record


def edit(tx: Tx, turn: str, input: str, author: Author = DAEMON) -> Turn:
    """Change the prompt of a queued turn.

    Raises:
        TurnNotFound, TurnNotQueued
    """
    record = tx.put_turn(queue.queued(tx, turn).model_copy(update={"input": input}))
    tx.emit(record.session, TURN_EDITED, TurnEdited(input=input, author=author.to_wire()), turn=turn)
    return record


def move(tx: Tx, turn: str, before: str | None, author: Author = DAEMON) -> Turn:
    """Put a queued turn before another of its session; None: at the end.

    Raises:
        TurnNotFound, TurnNotQueued
    """
    record = queue.queued(tx, turn)
    if before == turn:
        return record
    if before is not None and queue.queued(tx, before).session != record.session:
        text = f"turn {before} is of another session; name one that is queued in {record.session}"
        raise TurnNotQueued(text, turn=before, session=record.session)
    queue.place_before(tx, record, before)
    tx.emit(record.session, TURN_MOVED, TurnMoved(before=before, author=author.to_wire()), turn=turn)
    return record


def remove(tx: Tx, turn: str, author: Author = DAEMON) -> Turn:
    """Take a queued turn out of the queue: it ends ``cancelled``, reason ``removed``.

    Raises:
        TurnNotFound, TurnNotQueued
    """
    return _withdraw(tx, queue.queued(tx, turn), "removed", author)
