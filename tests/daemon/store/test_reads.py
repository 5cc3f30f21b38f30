"""Queries: what people type, and pages of turns."""

import re
from typing import Any

import pytest

from helpers.ledger import Ledger, creating, sending
from roost.daemon.store import reads, sessions, turns
from roost.protocol.errors import AmbiguousId, SessionNotFound, TurnNotFound
from roost.protocol.model import After, AfterEnd, Problem, Session, Turn, TurnState
from roost.protocol.rpc import pack


def rename(ledger: Ledger, session: Session, id: str) -> None:
    """Give a session an id that a test can foresee."""
    ledger.conn.execute("UPDATE sessions SET id = ? WHERE id = ?", (id, session.id))


def test_a_session_is_found_by_id_name_and_unique_start(ledger: Ledger) -> None:
    for id, name in (("s-aab", "s-aaa"), ("s-aaa", "build"), ("s-b", None)):
        bare = ledger.create(name)
        ledger.conn.execute("DELETE FROM environments")
        rename(ledger, bare, id)
    ledger.conn.execute("DELETE FROM events")

    def found(ref: str) -> str:
        return ledger.read(reads.session, ref).id

    assert [found(ref) for ref in ("s-aaa", "build", "s-aab", "s-b")] == ["s-aaa", "s-aaa", "s-aab", "s-b"]
    with pytest.raises(AmbiguousId, match="s-aaa, s-aab; type more") as caught:
        found("s-aa")
    assert caught.value.data == {"ref": "s-aa", "candidates": ["s-aaa", "s-aab"]}
    for ref in ("s-c", "%", "s_aaa", "BUILD"):
        with pytest.raises(SessionNotFound, match="roost ls"):
            found(ref)
    ledger.conn.execute("DELETE FROM sessions")


def test_a_name_that_two_sessions_have_is_an_error_that_names_both(ledger: Ledger) -> None:
    """Else a verb would be carried out on the one, while the user means the other."""
    made: list[Session] = []
    for _ in range(2):
        made.append(ledger.create("same"))
        ledger.do(sessions.archive, made[-1].id)
    both = f"{made[1].id} (archived), {made[0].id} (archived); use the id"
    with pytest.raises(AmbiguousId, match=re.escape(both)):
        ledger.session("same")
    ledger.do(sessions.unarchive, made[0].id)
    with pytest.raises(
        AmbiguousId, match=re.escape(f"could be {made[0].id}, {made[1].id} (archived); use the id")
    ) as caught:
        ledger.session("same")
    assert caught.value.data == {"ref": "same", "candidates": [made[0].id, made[1].id]}
    assert ledger.session(made[1].id).id == made[1].id
    ledger.do(sessions.delete, made[1].id, force=False)
    assert ledger.session("same").id == made[0].id


def test_a_name_that_is_the_start_of_another_id_is_an_error_that_names_both(ledger: Ledger) -> None:
    other = ledger.create()
    start = other.id[:12]
    named = ledger.create(start)
    with pytest.raises(AmbiguousId, match=re.escape(f"{named.id}, {other.id} (by its id); use the id")):
        ledger.session(start)
    assert ledger.session(other.id).id == other.id


def test_an_ambiguous_start_names_ten(ledger: Ledger) -> None:
    ledger.group(*[creating() for _ in range(30)])
    with pytest.raises(AmbiguousId, match="…") as caught:
        ledger.session("s-")
    assert len(caught.value.data["candidates"]) == 10


def test_a_turn_is_found_by_its_start(ledger: Ledger) -> None:
    turn = ledger.send(ledger.create())
    assert ledger.read(reads.turn, turn.id) == turn
    assert ledger.read(reads.turn, turn.id[:10]) == turn
    ledger.send(ledger.create())
    with pytest.raises(AmbiguousId):
        ledger.read(reads.turn, "t-")
    with pytest.raises(TurnNotFound, match="roost show"):
        ledger.read(reads.turn, "t-1")


def test_sessions_come_oldest_first(ledger: Ledger) -> None:
    made = [job.result for job in ledger.group(*[creating(str(n)) for n in range(20)])]
    ledger.do(sessions.archive, made[3].id)
    found = ledger.read(reads.all_sessions)
    assert [session.id for session in found] == [session.id for session in made]
    assert found[3].archived
    ledger.send(made[5])
    assert [session.id for session in ledger.read(reads.with_work)] == [made[5].id]


def all_turns(ledger: Ledger, session: Session, limit: int, **wanted: Any) -> list[Turn]:
    found: list[Turn] = []
    cursor: int | None = 0
    while cursor is not None:
        at = cursor
        page, cursor = ledger.read(reads.turns, session.id, limit=limit, cursor=at, **wanted)
        assert len(page) <= limit
        found += page
    return found


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_turns_are_listed_in_the_order_they_ran_and_will_run(ledger: Ledger, limit: int) -> None:
    session, turn = ledger.running(*"abcde")
    ledger.end(turn)
    ledger.claim(session)
    queued = all_turns(ledger, session, limit, state=TurnState.queued)
    assert [turn.input for turn in queued] == list("cde")
    ledger.do(turns.move, queued[2].id, queued[0].id)
    assert [turn.input for turn in all_turns(ledger, session, limit)] == list("abecd")
    assert [turn.input for turn in all_turns(ledger, session, limit, newest=True)] == list("dceba")
    for newest in (True, False):
        listed = all_turns(ledger, session, limit, state=TurnState.queued, newest=newest)
        assert [turn.input for turn in listed] == list("ecd"), "always in the order they will run"
    assert [turn.input for turn in all_turns(ledger, session, limit, state=TurnState.running)] == ["b"]
    assert all_turns(ledger, session, limit, state=TurnState.failed) == []


def test_pages_of_turns_stay_below_1_mib(ledger: Ledger) -> None:
    session = ledger.create()
    ledger.group(*[sending(session.id, "x" * 300_000) for _ in range(7)], sending(session.id, "ä" * 500_000))
    sizes: list[int] = []
    cursor: int | None = 0
    while cursor is not None:
        page, cursor = ledger.read(reads.turns, session.id, limit=100, cursor=cursor)
        sizes.append(len(page))
    assert sizes == [2, 2, 2, 1, 1]


def test_pages_of_turns_count_why_they_ended(ledger: Ledger) -> None:
    session, turn = ledger.running(*["x"] * 20, after=After(failed=AfterEnd.proceed))
    long = Problem(name="turn_failed", message="m" * 4000, data={"why": "ä" * 30_000})
    for _ in range(19):
        ledger.end(turn, TurnState.failed, problem=long)
        turn = ledger.claim(session)
    page, cursor = ledger.read(reads.turns, session.id, newest=True)
    assert len(page) == 14 and cursor is not None
    assert len(pack([turn.to_wire() for turn in page])) < 1024 * 1024
    assert len(all_turns(ledger, session, 100)) == 20


def test_history_is_the_last_turns_that_have_ended(ledger: Ledger) -> None:
    session, turn = ledger.running("one", "x" * 5000, "three", "runs", "waits")
    ids: list[str] = []
    for state in (TurnState.completed, TurnState.failed, TurnState.completed):
        ids.append(turn.id)
        ledger.end(turn, state)
        ledger.do(sessions.release, session.id)
        turn = ledger.claim(session)
    assert ledger.read(reads.history, session.id, 2) == [
        {"turn": ids[1], "number": 2, "input": "x" * 2000, "state": "failed"},
        {"turn": ids[2], "number": 3, "input": "three", "state": "completed"},
    ]
    assert len(ledger.read(reads.history, session.id, 50)) == 3
