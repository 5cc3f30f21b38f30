"""What follows a turn that did not complete, and how a hold begins and ends."""

import pytest

from helpers.ledger import Ledger, data, sending
from roost.daemon.store import reads, recovery, sessions, turns
from roost.protocol.model import DAEMON, After, AfterEnd, Problem, Session, SessionAuthor, Turn, TurnState

ENDS = ["failed", "interrupted", "cancelled"]


def after(end: str, wanted: AfterEnd) -> After:
    return After.model_validate({end: wanted})


@pytest.mark.parametrize("end", ENDS)
def test_what_is_queued_behind_is_held_and_a_release_lets_it_go_on(ledger: Ledger, end: str) -> None:
    session, turn = ledger.running("one", "two", "three")
    ledger.end(turn, TurnState(end))
    held = ledger.session(session)
    assert held.hold is not None and (held.hold.reason, held.hold.turn) == (end, turn.id)
    assert data(ledger.events(session)[-1]) == {
        "reason": end,
        "queued": 2,
        "author": SessionAuthor(session=session.id).to_wire(),
    }
    assert ledger.do(turns.claim, session.id) is None
    assert ledger.do(sending(session.id, "four"))[1:] == (end, 2)
    assert data(ledger.events(session)[-1])["held"] == end
    ledger.do(sessions.release, session.id)
    assert ledger.claim(session).input == "two"


@pytest.mark.parametrize("end", ENDS)
def test_nothing_queued_is_nothing_held(ledger: Ledger, end: str) -> None:
    session, turn = ledger.running("one")
    ledger.end(turn, TurnState(end))
    assert ledger.session(session).hold is None
    assert ledger.do(sending(session.id, "two"))[1] is None
    assert ledger.claim(session).input == "two"


def test_after_a_completed_turn_the_next_one_goes_on(ledger: Ledger) -> None:
    session, turn = ledger.running("one", "two")
    ledger.end(turn)
    assert ledger.claim(session).input == "two"


@pytest.mark.parametrize("end", ENDS)
def test_a_session_may_want_to_go_on(ledger: Ledger, end: str) -> None:
    session, turn = ledger.running("one", "two", after=after(end, AfterEnd.proceed))
    ledger.end(turn, TurnState(end))
    assert ledger.claim(session).input == "two"


def fail_all_attempts(ledger: Ledger, session: Session, turn: Turn) -> list[Turn]:
    attempts: list[Turn] = []
    while ledger.session(session).hold is None and len(attempts) < 10:
        attempts.append(ledger.end(turn, TurnState.failed))
        if ledger.session(session).hold is None:
            turn = ledger.claim(session)
    return attempts


def test_a_prompt_is_sent_three_times_in_all_then_the_queue_is_held(ledger: Ledger) -> None:
    session, turn = ledger.running("one", "two", after=after("failed", AfterEnd.retry))
    attempts = fail_all_attempts(ledger, session, turn)
    assert [attempt.input for attempt in attempts] == ["one"] * 3
    assert [attempt.retry_of for attempt in attempts] == [None, attempts[0].id, attempts[1].id]
    assert [attempt.number for attempt in attempts] == [1, 3, 4]
    assert ledger.queue(session) == ["two"]


def test_a_retry_stands_at_the_head_of_the_queue_and_says_so(ledger: Ledger) -> None:
    wanted = after("failed", AfterEnd.retry)
    session, turn = ledger.running("one", "two", "three", after=wanted)
    ledger.end(turn, TurnState.failed)
    assert ledger.queue(session) == ["one", "two", "three"]
    queued, moved = ledger.events(session)[-2:]
    assert data(queued)["turn"]["retry_of"] == turn.id
    second = reads.turns(ledger.reader, session.id, TurnState.queued)[0][1]
    author = SessionAuthor(session=session.id).to_wire()
    assert (moved.kind, data(moved)) == ("turn.moved", {"before": second.id, "author": author})


def test_a_turn_alone_is_tried_again_too(ledger: Ledger) -> None:
    session, turn = ledger.running("one", after=after("interrupted", AfterEnd.retry))
    ledger.end(turn, TurnState.interrupted)
    again = ledger.claim(session)
    assert (again.input, again.retry_of) == ("one", turn.id)


def test_what_a_user_cancelled_is_not_sent_again(ledger: Ledger) -> None:
    session, turn = ledger.running("one", "two", after=after("cancelled", AfterEnd.retry))
    ledger.do(turns.request_cancel, turn.id, reason="user", author=DAEMON)
    ledger.end(turn, TurnState.cancelled)
    assert ledger.queue(session) == ["two"] and ledger.session(session).hold is not None


def test_what_a_user_was_cancelling_when_the_daemon_died_is_not_sent_again(ledger: Ledger) -> None:
    session, turn = ledger.running("one", "two", after=after("interrupted", AfterEnd.retry))
    ledger.do(turns.request_cancel, turn.id, reason="user", author=DAEMON)
    assert ledger.do(recovery.recover, session.id) == [turn.id]
    assert ledger.queue(session) == ["two"] and ledger.session(session).hold is not None


def test_what_a_user_was_cancelling_when_its_child_died_is_not_sent_again(ledger: Ledger) -> None:
    session, turn = ledger.running("one", "two", after=after("failed", AfterEnd.retry))
    ledger.do(turns.request_cancel, turn.id, reason="user", author=DAEMON)
    ledger.do(turns.end, turn.id, state=TurnState.failed, reason="worker_exited", alive=False)
    assert ledger.queue(session) == ["two"] and ledger.session(session).hold is not None


def test_what_timed_out_is_sent_again(ledger: Ledger) -> None:
    session, turn = ledger.running("one", after=after("cancelled", AfterEnd.retry))
    ledger.do(turns.request_cancel, turn.id, reason="timeout", author=DAEMON)
    ledger.end(turn, TurnState.cancelled)
    assert ledger.queue(session) == ["one"]


def test_a_retry_whose_first_attempt_was_removed_still_ends(ledger: Ledger) -> None:
    session, turn = ledger.running("one", "two", after=after("failed", AfterEnd.retry))
    ledger.end(turn, TurnState.failed)
    ledger.do(lambda tx: tx.conn.execute("DELETE FROM turns WHERE id = ?", (turn.id,)))
    second = ledger.claim(session)
    ledger.end(second, TurnState.failed)
    ledger.end(ledger.claim(session), TurnState.failed)
    assert ledger.session(session).hold is not None


def test_an_engine_that_never_starts_is_tried_three_times(ledger: Ledger) -> None:
    session = ledger.create(after=after("failed", AfterEnd.retry))
    ledger.send(session, "one")
    problem = Problem(name="engine_failed", message="there is no such program")
    for _ in range(3):
        turn = ledger.do(turns.first_queued, session.id)
        assert turn is not None
        failed = turn.id
        ledger.do(turns.fail_queued, failed, problem)
    assert ledger.queue(session) == []


@pytest.mark.parametrize("leave", ["cancel", "remove"])
def test_a_queue_that_is_emptied_is_on_hold_no_more(ledger: Ledger, leave: str) -> None:
    session, turn = ledger.running("one", "two", "three")
    ledger.end(turn, TurnState.failed)
    for waiting in reads.turns(ledger.reader, session.id, TurnState.queued)[0]:
        assert ledger.session(session).hold is not None
        id = waiting.id
        if leave == "cancel":
            ledger.do(turns.request_cancel, id, reason="user", author=DAEMON)
        else:
            ledger.do(turns.remove, id)
    assert ledger.session(session).hold is None
    assert data(ledger.events(session)[-1]) == {"reason": "empty", "queued": 0, "author": DAEMON.to_wire()}


def test_the_first_reason_of_a_hold_stays(ledger: Ledger) -> None:
    session, turn = ledger.running("one", "two", "three")
    ledger.end(turn, TurnState.interrupted)
    waiting = ledger.do(turns.first_queued, session.id)
    assert waiting is not None
    ledger.do(turns.fail_queued, waiting.id, Problem(name="engine_failed", message="no"))
    hold = ledger.session(session).hold
    assert hold is not None and hold.reason == "interrupted"
    assert ledger.kinds(session).count("session.held") == 1
