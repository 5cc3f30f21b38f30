"""Operations on turns: the order of a queue, one turn at a time, the first end wins."""

from collections.abc import Callable

import pytest

from helpers.ledger import Ledger, data, sending
from roost.daemon.core.states import SessionEvent
from roost.daemon.store import Tx, checkpoints, reads, sessions, turns
from roost.protocol.errors import (
    IllegalTransition,
    KeyConflict,
    LimitReached,
    QueueFull,
    SessionArchived,
    SessionNotFound,
    TurnNotFound,
    TurnNotQueued,
)
from roost.protocol.model import DAEMON, ClientAuthor, EngineKind, Problem, SessionState, Turn, TurnState

AUTHOR = ClientAuthor(pid=10, uid=1000, client="test")
PROBLEM = Problem(name="turn_failed", message="exit status 1")


def test_a_prompt_is_durable_with_its_event(ledger: Ledger) -> None:
    """It is on disk before anything is done about it."""
    session = ledger.create()
    turn, held, ahead = ledger.do(sending(session.id, "one", timeout=5, idle_timeout=6, author=AUTHOR))
    assert (turn.number, turn.state, turn.author, held, ahead) == (1, TurnState.queued, AUTHOR, None, 0)
    assert ledger.turn(turn) == turn
    event = ledger.events(session)[-1]
    assert event.kind == "turn.queued" and Turn.model_validate(data(event)["turn"]) == turn
    after = ledger.session(session)
    assert (after.queued, after.turns, after.active_at) == (1, 1, turn.created_at)


def test_how_many_are_ahead(ledger: Ledger) -> None:
    session, _ = ledger.running()
    assert [ledger.do(sending(session.id))[2] for _ in range(3)] == [1, 2, 3]


def test_a_key_sends_one_turn(ledger: Ledger) -> None:
    """The second call returns the first result, with what is ahead of it now; other content is a conflict."""
    session, running = ledger.running()
    ledger.send(session, "between")
    first = ledger.do(sending(session.id, "once", key="k", author=AUTHOR))
    assert ledger.do(sending(session.id, "once", key="k")) == first and first[2] == 2
    ledger.end(running)
    assert ledger.do(sending(session.id, "once", key="k"))[2] == 1
    ledger.end(ledger.claim(session))
    ledger.end(ledger.claim(session))
    assert ledger.do(sending(session.id, "once", key="k")) == (ledger.turn(first[0]), None, 0)
    for other in (sending(session.id, "twice", key="k"), sending(ledger.create().id, "once", key="k")):
        with pytest.raises(KeyConflict):
            ledger.do(other)
    assert ledger.session(session).turns == 3


def test_a_queue_has_a_limit_and_an_archived_session_none(ledger: Ledger) -> None:
    session = ledger.create()
    ledger.do(sending(session.id, limit=2))
    ledger.do(sending(session.id, limit=2))
    with pytest.raises(QueueFull, match="2 turns are queued"):
        ledger.do(sending(session.id, limit=2))
    archived = ledger.create()
    ledger.do(sessions.archive, archived.id)
    with pytest.raises(SessionArchived, match="unarchive"):
        ledger.send(archived)
    with pytest.raises(SessionNotFound):
        ledger.send("s-none")


def test_a_retry_is_of_the_same_session(ledger: Ledger) -> None:
    session, turn = ledger.running()
    ledger.end(turn)
    assert ledger.send(session, retry_of=turn.id).retry_of == turn.id
    with pytest.raises(TurnNotFound, match="another session"):
        ledger.send(ledger.create(), retry_of=turn.id)
    with pytest.raises(TurnNotFound):
        ledger.send(session, retry_of="t-none")


def test_a_prompt_that_fits_no_event_is_refused_whole(ledger: Ledger) -> None:
    session = ledger.create()
    with pytest.raises(LimitReached):
        ledger.send(session, "x" * 1_100_000)
    assert ledger.queue(session) == [] and ledger.session(session).turns == 0


def test_claims_go_in_order_of_arrival_one_at_a_time(ledger: Ledger) -> None:
    """By order of arrival, and sessions are independent."""
    session, first = ledger.running("one", "two", "three")
    other, elsewhere = ledger.running("other")
    assert (first.input, elsewhere.input) == ("one", "other")
    assert ledger.do(turns.claim, session.id) is None, "one runs already"
    ledger.end(first)
    second = ledger.claim(session)
    assert (second.input, second.state) == ("two", TurnState.running)
    now = ledger.session(session)
    assert (now.turn, now.queued, now.state) == (second.id, 1, SessionState.busy)
    assert ledger.kinds(session)[-2:] == ["session.state_changed", "turn.started"]
    assert ledger.session(other).turn == elsewhere.id


def test_nothing_to_claim(ledger: Ledger) -> None:
    session = ledger.make_ready(ledger.create())
    assert ledger.do(turns.claim, session.id) is None
    assert ledger.do(turns.first_queued, session.id) is None


def test_a_session_without_a_child_cannot_be_claimed_for(ledger: Ledger) -> None:
    session = ledger.create()
    ledger.send(session)
    ledger.do(sessions.change, session.id, SessionEvent.start, reason="turn", pid=1)
    with pytest.raises(IllegalTransition, match="starting cannot begin"):
        ledger.do(turns.claim, session.id)
    assert ledger.queue(session) == ["make it so"]


def test_the_end_of_a_turn_is_one_transaction_with_its_state(ledger: Ledger) -> None:
    """What the turn made and its end stand or fall together."""
    session, turn = ledger.running()
    item = ledger.item(turn, "done")
    ended = ledger.end(turn, reason="because", exit_code=0, duration=1234, engine_state=b"state")
    assert (ended.state, ended.exit_code, ended.duration) == (TurnState.completed, 0, 1234)
    assert ledger.turn(turn) == ended and ended.ended_at is not None
    now = ledger.session(session)
    assert (now.state, now.turn, now.last_turn, now.last_turn_state) == ("ready", None, turn.id, "completed")
    assert (now.through_turn, now.checkpoint_at) == (turn.id, ended.ended_at)
    saved = ledger.read(checkpoints.load, session.id, "latest")
    assert saved is not None and (saved[1], saved[0].through_turn) == (b"state", turn.id)
    assert ledger.kinds(session)[-3:] == ["item.completed", "turn.completed", "session.state_changed"]
    assert data(ledger.events(session)[-2])["state_saved"] is True
    assert ledger.read(reads.items, turn.id)[0][0].id == item


def test_the_first_end_wins(ledger: Ledger) -> None:
    """A second end is refused and changes nothing."""
    session, turn = ledger.running()
    ended = ledger.end(turn, engine_state=b"first")
    before = ledger.session(session)
    for state in (TurnState.completed, TurnState.failed):
        with pytest.raises(IllegalTransition, match="turn that is completed"):
            ledger.end(turn, state, engine_state=b"second")
    assert (ledger.turn(turn), ledger.session(session)) == (ended, before)


def test_a_dead_child_leaves_its_session_to_its_owner(ledger: Ledger) -> None:
    session, turn = ledger.running()
    ledger.end(turn, TurnState.failed, problem=PROBLEM, alive=False)
    assert ledger.session(session).state is SessionState.busy
    ledger.do(sessions.change, session.id, SessionEvent.gone, reason="exited")
    assert ledger.session(session).state is SessionState.idle


def test_a_program_per_turn_leaves_the_session_idle(ledger: Ledger) -> None:
    session, turn = ledger.running(kind=EngineKind.command)
    assert ledger.session(session).state is SessionState.busy
    ledger.end(turn, alive=False)
    assert ledger.session(session).state is SessionState.idle


def test_a_queued_turn_is_cancelled_at_once(ledger: Ledger) -> None:
    """What is not claimed goes."""
    session = ledger.create()
    turn = ledger.send(session)
    cancelled, outcome = ledger.do(turns.request_cancel, turn.id, reason="user", author=AUTHOR)
    assert (outcome, cancelled.state, cancelled.reason) == ("cancelled", TurnState.cancelled, "user")
    assert cancelled.cancelled_by == AUTHOR and cancelled.ended_at is not None
    assert ledger.kinds(session)[-1] == "turn.cancelled"
    assert (ledger.session(session).queued, ledger.session(session).last_turn) == (0, None)


def test_of_two_cancels_the_first_reason_stays(ledger: Ledger) -> None:
    """Both are answered; the first reason and author are kept; one that has ended is left alone."""
    session, turn = ledger.running()
    first, outcome = ledger.do(turns.request_cancel, turn.id, reason="timeout", author=DAEMON)
    assert (outcome, first.state, first.cancelling) == ("requested", TurnState.running, "timeout")
    again = ledger.do(turns.request_cancel, turn.id, reason="user", author=AUTHOR)
    assert again == (first, "requested")
    assert ledger.kinds(session).count("turn.cancel_requested") == 1
    ended = ledger.end(turn, TurnState.cancelled)
    assert (ended.reason, ended.cancelling, ended.cancelled_by) == ("timeout", None, DAEMON)
    seq = ledger.session(session).seq
    assert ledger.do(turns.request_cancel, turn.id, reason="user", author=AUTHOR) == (ended, "ended")
    assert ledger.session(session).seq == seq


def test_a_turn_whose_engine_cannot_start_fails_in_the_queue(ledger: Ledger) -> None:
    """Failed, said, and what is behind it is held."""
    session = ledger.create()
    first = ledger.send(session, "one")
    ledger.send(session, "two")
    failed = ledger.do(turns.fail_queued, first.id, PROBLEM)
    assert (failed.state, failed.reason, failed.problem) == (TurnState.failed, PROBLEM.name, PROBLEM)
    now = ledger.session(session)
    assert (now.queued, now.last_turn, now.last_turn_state) == (1, first.id, "failed")
    assert now.hold is not None and now.hold.turn == first.id
    assert ledger.kinds(session)[-2:] == ["turn.failed", "session.held"]


# --- while it waits ---


def test_a_queued_prompt_is_edited(ledger: Ledger) -> None:
    session = ledger.create()
    turn = ledger.send(session, "rn tests")
    assert ledger.do(turns.edit, turn.id, "run tests").input == "run tests"
    assert data(ledger.events(session)[-1]) == {"input": "run tests", "author": DAEMON.to_wire()}
    assert ledger.queue(session) == ["run tests"]


def test_a_queued_turn_is_moved(ledger: Ledger) -> None:
    session = ledger.create()
    by_name = {name: ledger.send(session, name) for name in "abcd"}

    def move(name: str, before: str | None) -> list[str]:
        target = by_name[before].id if before else None
        ledger.do(turns.move, by_name[name].id, target)
        assert data(ledger.events(session)[-1]) == {"before": target, "author": DAEMON.to_wire()}
        return ledger.queue(session)

    assert move("d", "a") == ["d", "a", "b", "c"]
    assert move("d", "c") == ["a", "b", "d", "c"]
    assert move("a", None) == ["b", "d", "c", "a"]
    seq = ledger.session(session).seq
    ledger.do(turns.move, by_name["b"].id, by_name["b"].id)
    assert (ledger.queue(session), ledger.session(session).seq) == (["b", "d", "c", "a"], seq)


def test_a_spot_that_many_are_moved_to_never_runs_out(ledger: Ledger) -> None:
    session, running = ledger.running("runs", "first", "last")
    waiting = [ledger.send(session, str(n)) for n in range(60)]
    last = reads.turns(ledger.reader, session.id, TurnState.queued, limit=2)[0][1]
    for turn in waiting:
        ledger.do(turns.move, turn.id, last.id)
    assert ledger.queue(session) == ["first", *map(str, range(60)), "last"]
    ledger.end(running)
    assert ledger.claim(session).input == "first"
    assert ledger.send(session, "behind").number == 64
    assert ledger.queue(session)[-1] == "behind"


def test_a_queued_turn_is_removed(ledger: Ledger) -> None:
    session = ledger.create()
    turn = ledger.send(session)
    removed = ledger.do(turns.remove, turn.id)
    assert (removed.state, removed.reason) == (TurnState.cancelled, "removed")
    assert ledger.kinds(session)[-1] == "turn.cancelled"


def test_a_turn_that_runs_is_not_in_the_queue(ledger: Ledger) -> None:
    session, running = ledger.running("one", "two")
    changes: list[Callable[[Tx], object]] = [
        lambda tx: turns.edit(tx, running.id, "other"),
        lambda tx: turns.move(tx, running.id, None),
        lambda tx: turns.remove(tx, running.id),
        lambda tx: turns.fail_queued(tx, running.id, PROBLEM),
    ]
    for operation in changes:
        with pytest.raises(TurnNotQueued) as caught:
            ledger.do(operation)
        assert caught.value.data == {"turn": running.id, "state": TurnState.running}
    (queued,), _ = reads.turns(ledger.reader, session.id, TurnState.queued)
    with pytest.raises(TurnNotQueued):
        ledger.do(turns.move, queued.id, running.id)


def test_a_turn_is_not_moved_into_another_session(ledger: Ledger) -> None:
    one, two = ledger.send(ledger.create()), ledger.send(ledger.create())
    with pytest.raises(TurnNotQueued, match="another session"):
        ledger.do(turns.move, one.id, two.id)


def test_an_unknown_turn_is_named(ledger: Ledger) -> None:
    with pytest.raises(TurnNotFound, match="'t-none'"):
        ledger.do(turns.remove, "t-none")
    with pytest.raises(TurnNotFound, match="roost show"):
        ledger.do(turns.end, "t-none", state=TurnState.failed, alive=True)


def test_sending_costs_the_same_however_many_wait(ledger: Ledger) -> None:
    """The steps SQLite takes for one send, counted, not timed."""

    def steps(session: str) -> int:
        count = 0

        def step() -> None:
            nonlocal count
            count += 1

        ledger.conn.set_progress_handler(step, 10)
        ledger.group(*[sending(session, limit=10**6) for _ in range(20)])
        ledger.conn.set_progress_handler(None, 0)
        return count

    session = ledger.create()
    ledger.group(*[sending(session.id, limit=10**6) for _ in range(300)])
    few = steps(session.id)
    ledger.group(*[sending(session.id, limit=10**6) for _ in range(3000)])
    assert steps(session.id) <= 1.1 * few
