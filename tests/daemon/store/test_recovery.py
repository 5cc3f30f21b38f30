"""What a daemon that was killed left: settled in one transaction a session, once, and told."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from helpers.ledger import Ledger, data
from roost.daemon.core.said import End
from roost.daemon.core.states import SessionEvent
from roost.daemon.store import reads, recovery, sessions
from roost.daemon.store.items import record
from roost.protocol.errors import SessionNotFound
from roost.protocol.model import After, AfterEnd, EngineKind, Item, ItemState, Session, SessionState, Turn, TurnState


def recover_all(ledger: Ledger) -> dict[str, list[str]]:
    """What a start does."""
    found = ledger.read(recovery.unfinished)
    return {id: ledger.do(recovery.recover, id) for id in found}


def items_of(ledger: Ledger, turn: Turn) -> list[Item]:
    return ledger.read(reads.items, turn.id)[0]


def set_turn(ledger: Ledger, turn: Turn, **fields: Any) -> None:
    ledger.do(lambda tx: tx.put_turn(tx.turn(turn.id).model_copy(update=fields)))


@pytest.mark.parametrize("state", [TurnState.running, TurnState.waiting])
def test_a_turn_that_ran_is_interrupted(ledger: Ledger, state: TurnState) -> None:
    """With the reason, an end, and a duration from its start."""
    session, turn = ledger.running("one")
    assert turn.started_at is not None
    set_turn(ledger, turn, state=state, started_at=turn.started_at - 5000)
    assert recover_all(ledger) == {session.id: [turn.id]}
    ended = ledger.turn(turn)
    assert (ended.state, ended.reason) == (TurnState.interrupted, "daemon_restart")
    assert ended.ended_at is not None and ended.duration is not None and 5000 <= ended.duration < 60_000
    now = ledger.session(session)
    assert (now.state, now.turn, now.pid) == (SessionState.idle, None, None)
    assert (now.last_turn, now.last_turn_state, now.interrupted) == (turn.id, "interrupted", turn.id)


def test_a_duration_is_not_below_0(ledger: Ledger) -> None:
    """The wall clock was set back meanwhile."""
    _, turn = ledger.running()
    assert turn.started_at is not None
    set_turn(ledger, turn, started_at=turn.started_at + 1_000_000)
    recover_all(ledger)
    assert ledger.turn(turn).duration == 0


def test_its_items_are_interrupted_before_it(ledger: Ledger) -> None:
    """Each change is an event, children first."""
    session, turn = ledger.running("one")
    open_items = [ledger.item(turn, "half a "), ledger.item(turn)]
    seq = ledger.session(session).seq
    recover_all(ledger)
    found = items_of(ledger, turn)
    assert [(item.id, item.state, item.ended_at is not None) for item in found] == [
        (id, ItemState.interrupted, True) for id in open_items
    ]
    assert found[0].content == "half a "
    assert ledger.kinds(session, seq) == [
        "item.interrupted",
        "item.interrupted",
        "turn.interrupted",
        "session.state_changed",
    ]
    assert data(ledger.events(session)[-1]) == {"old": "busy", "new": "idle", "reason": "daemon_restart"}


def test_items_that_have_ended_are_left(ledger: Ledger) -> None:
    _, turn = ledger.running()
    id = ledger.item(turn, "done")
    ledger.do(record, turn.id, [End(id, ItemState.failed, {})])
    (before,) = items_of(ledger, turn)
    recover_all(ledger)
    assert items_of(ledger, turn) == [before]


def test_several_are_settled_oldest_first(ledger: Ledger) -> None:
    """It takes a broken database to have several, and they are settled all the same."""
    session, first = ledger.running("one", "two", "three")
    second = ledger.do(
        lambda tx: tx.put_turn(
            tx.turn(_queued(ledger, session.id)).model_copy(
                update={
                    "state": TurnState.running,
                    "started_at": tx.now,
                }
            )
        )
    )
    ledger.do(lambda tx: tx.put_session(tx.session(session.id).model_copy(update={"queued": 1})))
    seq = ledger.session(session).seq
    assert recover_all(ledger) == {session.id: [first.id, second.id]}
    assert ledger.kinds(session, seq)[:2] == ["turn.interrupted"] * 2
    assert ledger.session(session).last_turn == second.id


def _queued(ledger: Ledger, session: str) -> str:
    return reads.turns(ledger.reader, session, TurnState.queued)[0][0].id


def test_a_session_that_was_touched_says_when(path: Path) -> None:
    with closing(Ledger(path)) as ledger:
        session, _ = ledger.running()
        ledger.conn.execute("UPDATE sessions SET updated_at = 1")
    with closing(Ledger(path, used=True)) as ledger:
        recover_all(ledger)
        assert ledger.session(session).updated_at > 1


def test_what_has_ended_is_untouched(ledger: Ledger) -> None:
    ended: list[tuple[Session, Turn]] = []
    for state in ("completed", "failed", "cancelled", "interrupted"):
        session, turn = ledger.running()
        ledger.end(turn, TurnState(state))
        ledger.do(sessions.change, session.id, SessionEvent.gone, reason="stopped")
        ended.append((ledger.session(session), ledger.turn(turn)))
    ledger.create()
    assert recover_all(ledger) == {}
    assert [(ledger.session(session), ledger.turn(turn)) for session, turn in ended] == ended


def test_twice_is_once(ledger: Ledger) -> None:
    session, turn = ledger.running("one", "two")
    ledger.item(turn, "half")
    recover_all(ledger)
    before = (ledger.session(session), ledger.events(None))
    assert recover_all(ledger) == {}
    assert ledger.do(recovery.recover, session.id) == []
    assert (ledger.session(session), ledger.events(None)) == before


def test_it_is_over_when_it_returns(path: Path) -> None:
    """It is a plain call that a start makes before it listens; what it did is on disk."""
    with closing(Ledger(path)) as ledger:
        session, turn = ledger.running("one", "two")
    with closing(Ledger(path, used=True)) as ledger:
        recover_all(ledger)
    with closing(Ledger(path, used=True)) as ledger:
        assert ledger.read(recovery.unfinished) == []
        assert (ledger.turn(turn).state, ledger.queue(session)) == (TurnState.interrupted, ["two"])


def test_queued_turns_stay_queued_and_are_held(ledger: Ledger) -> None:
    """What had not begun is not lost; nothing runs behind what was cut off until somebody says so."""
    session, turn = ledger.running("one", "two", "three")
    recover_all(ledger)
    assert ledger.queue(session) == ["two", "three"]
    hold = ledger.session(session).hold
    assert hold is not None and (hold.reason, hold.turn) == ("interrupted", turn.id)
    assert ledger.kinds(session)[-1] == "session.held"


def test_what_follows_an_interrupted_turn_is_the_sessions_choice(ledger: Ledger) -> None:
    on, _ = ledger.running("one", "two", after=After(interrupted=AfterEnd.proceed))
    again, cut_off = ledger.running("one", "two", after=After(interrupted=AfterEnd.retry))
    recover_all(ledger)
    assert (ledger.session(on).hold, ledger.queue(on)) == (None, ["two"])
    assert (ledger.session(again).hold, ledger.queue(again)) == (None, ["one", "two"])
    assert ledger.do(lambda tx: tx.turn(_queued(ledger, again.id))).retry_of == cut_off.id


@pytest.mark.parametrize("steps", [["start"], ["start", "ready"], ["start", "ready", "stop"]])
def test_a_session_whose_child_is_gone_is_idle(ledger: Ledger, steps: list[str]) -> None:
    session = ledger.create()
    ledger.send(session, "waits")
    for step in steps:
        event = SessionEvent(step)
        ledger.do(sessions.change, session.id, event, reason="test", pid=5)
    assert recover_all(ledger) == {session.id: []}
    now = ledger.session(session)
    assert (now.state, now.pid, now.hold, now.interrupted) == (SessionState.idle, None, None, None)


def test_a_program_per_turn_is_interrupted_too(ledger: Ledger) -> None:
    session, turn = ledger.running(kind=EngineKind.command)
    recover_all(ledger)
    assert (ledger.session(session).state, ledger.turn(turn).state) == ("idle", "interrupted")


def test_a_failed_session_stays_failed(ledger: Ledger) -> None:
    session = ledger.create()
    ledger.do(sessions.change, session.id, SessionEvent.give_up, reason="limit")
    assert recover_all(ledger) == {}
    assert ledger.session(session).state is SessionState.failed


def test_an_item_that_outlived_its_turn_is_settled(ledger: Ledger) -> None:
    """Not only unfinished turns are looked for."""
    session, turn = ledger.running()
    id = ledger.item(turn, "left")
    ledger.end(turn)
    ledger.do(sessions.change, session.id, SessionEvent.gone, reason="stopped")
    ledger.do(lambda tx: tx.put_item(tx.item(id).model_copy(update={"state": ItemState.in_progress})))
    assert recover_all(ledger) == {session.id: []}
    assert items_of(ledger, turn)[0].state is ItemState.interrupted
    assert recover_all(ledger) == {}


def test_recovery_finds_its_work_by_indexes(ledger: Ledger) -> None:
    """Of 10,000 sessions only those that need it are looked at."""
    plan = ledger.conn.execute(f"EXPLAIN QUERY PLAN {recovery.UNFINISHED}").fetchall()
    scans = [row[3] for row in plan if row[3].startswith(("SCAN", "SEARCH"))]
    assert len(scans) == 3 and all("INDEX" in scan for scan in scans), scans
    (work,) = ledger.conn.execute("EXPLAIN QUERY PLAN SELECT * FROM sessions WHERE queued > 0").fetchall()
    assert "sessions_with_work" in work[3]


def test_an_unknown_session(ledger: Ledger) -> None:
    with pytest.raises(SessionNotFound):
        ledger.do(recovery.recover, "s-none")
