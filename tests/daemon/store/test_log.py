"""Events read back, and what retention leaves of them."""

from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from helpers.ledger import Ledger, creating, data, emitting, sending
from roost.daemon.store import Stored, log, reads, retention, sessions
from roost.protocol.errors import ItemNotFound, SessionNotFound, TurnNotFound
from roost.protocol.model import Event
from roost.protocol.rpc import unpack


def walk(ledger: Ledger, session: str | None, limit: int = 7, kinds: list[str] | None = None) -> list[Stored]:
    """All events, by the page."""
    found: list[Stored] = []
    after, more = 0, True
    while more:
        before = after
        page, after, more = ledger.read(reads.events, session, after, limit, kinds)
        assert len(page) <= limit and (after > before or not more)
        found += page
    return found


def prune(ledger: Ledger, session: str, keep: int, age: int | None = None, turns: int | None = None) -> int:
    return ledger.do(retention.prune, session, keep=keep, older_than_ms=age, keep_turns=turns)


def test_only_what_is_after_is_read_ascending(ledger: Ledger) -> None:
    session = ledger.create()
    ledger.group(*[emitting(session.id) for _ in range(9)])
    page, following, more = ledger.read(reads.events, session.id, 4, 100)
    assert [event.seq for event in page] == [5, 6, 7, 8, 9, 10]
    assert (following, more) == (10, False)
    assert ledger.read(reads.events, session.id, 10, 100) == ([], 10, False)
    assert ledger.read(reads.events, session.id, 99, 100) == ([], 99, False)


def test_every_event_is_as_the_protocol_says(ledger: Ledger) -> None:
    session, turn = ledger.running()
    ledger.item(turn, "x")
    ledger.end(turn)
    ledger.do(emitting(""))
    for stored in walk(ledger, None):
        event = Event.model_validate(unpack(stored.packed))
        assert (event.session or "", event.seq, event.offset, event.kind) == stored[:4]
    assert [e.kind for e in ledger.events(session) if unpack(e.packed)["turn"] == turn.id] == [
        "turn.queued",
        "turn.started",
        "item.started",
        "item.delta",
        "item.completed",
        "turn.completed",
    ]


def test_sessions_and_the_daemon_are_numbered_apart_and_together(ledger: Ledger) -> None:
    one, two = ledger.create(), ledger.create()
    ledger.group(*[emitting(id) for id in (one.id, two.id, "", one.id, "")])
    assert [event.seq for event in ledger.events(one)] == [1, 2, 3]
    assert [event.seq for event in ledger.events(two)] == [1, 2]
    assert [event.seq for event in ledger.events("")] == [1, 2]
    everything = walk(ledger, None, limit=3)
    assert [event.offset for event in everything] == list(range(1, 8))
    assert unpack(everything[-1].packed)["session"] is None
    assert ledger.read(lambda conn: [reads.last(conn, ref) for ref in (one.id, "", None)]) == [3, 2, 7]


def test_no_number_is_used_twice(path: Path) -> None:
    """After a restart they go on, even when those given last were removed."""
    with closing(Ledger(path)) as ledger:
        session, doomed = ledger.create("kept"), ledger.create("doomed")
        ledger.do(sessions.delete, doomed.id, force=False)
        ledger.do(emitting(session.id))
        prune(ledger, session.id, keep=0)
        offset = ledger.writer.offset
    with closing(Ledger(path, used=True)) as ledger:
        ledger.do(emitting(session.id))
        event = ledger.events(session)[-1]
        assert (event.seq, event.offset) == (3, offset + 1)
        ledger.conn.execute("DELETE FROM events")
        ledger.do(emitting(session.id))
        assert (ledger.session(session).seq, ledger.writer.offset) == (4, offset + 2)


def test_pages_are_bounded_by_bytes_but_never_empty(ledger: Ledger) -> None:
    session = ledger.create()
    ledger.group(*[emitting(session.id, "x" * 400_000) for _ in range(5)], emitting(session.id, "x" * 1_000_000))
    sizes: list[int] = []
    after, more = 1, True
    while more:
        page, after, more = ledger.read(reads.events, session.id, after, 100)
        sizes.append(len(page))
    assert sizes == [2, 2, 1, 1]
    assert len(walk(ledger, session.id)) == 7


def test_kinds_are_exact_or_a_noun(ledger: Ledger) -> None:
    session, turn = ledger.running()
    ledger.item(turn, "x")
    kinds = [event.kind for event in walk(ledger, session.id, 2, ["turn.", "item.started"])]
    assert kinds == ["turn.queued", "turn.started", "item.started"]
    assert walk(ledger, session.id, 2, ["turn", "ite"]) == []
    assert walk(ledger, None, 2, []) == []


def test_a_read_looks_at_so_many_events_and_goes_on_from_there(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "SCAN", 10)
    session = ledger.create()
    ledger.group(*[emitting(session.id) for _ in range(34)])
    assert ledger.read(reads.events, session.id, 0, 100, ["daemon."]) == ([], 10, True)
    assert ledger.read(reads.events, session.id, 30, 100, ["daemon."]) == ([], 35, False)
    assert len(walk(ledger, None, 100)) == 35


def test_an_unknown_session_is_named(ledger: Ledger) -> None:
    with pytest.raises(SessionNotFound, match="s-none"):
        ledger.read(reads.events, "s-none", 0, 1)
    with pytest.raises(SessionNotFound, match="s-none"):
        ledger.read(reads.last, "s-none")


# --- retention ---


def test_a_gap_is_told_in_place_of_what_was_removed(ledger: Ledger) -> None:
    session, other = ledger.create(), ledger.create()
    ledger.group(*[emitting(id) for _ in range(10) for id in (session.id, other.id)])
    whole = ledger.events(session)
    assert prune(ledger, session.id, keep=4) == 7
    gap, *rest = walk(ledger, session.id)
    assert rest == whole[7:]
    assert (gap.kind, gap.seq, gap.offset) == ("events.pruned", 7, whole[6].offset)
    assert data(gap) == {"from_seq": 1, "to_seq": 7}
    assert unpack(gap.packed)["at"] == unpack(whole[6].packed)["at"]
    assert ledger.events(session, 6) == [gap, *rest] and ledger.events(session, 7) == rest

    everything = walk(ledger, None, limit=3)
    assert gap in everything and len(everything) == 22 - 7 + 1
    assert all(one.offset < two.offset for one, two in pairwise(everything))
    assert [event.kind for event in walk(ledger, session.id, 5, ["turn.queued"])] == ["events.pruned"]


def test_it_is_one_gap_however_often_and_numbers_go_on(ledger: Ledger) -> None:
    session = ledger.create()
    ledger.group(*[emitting(session.id) for _ in range(10)])
    for keep in (8, 5, 5, 0, 0):
        prune(ledger, session.id, keep)
    assert [data(event) for event in ledger.events(session)] == [{"from_seq": 1, "to_seq": 11}]
    assert ledger.read(reads.events, session.id, 0, 1)[1:] == (11, False)
    ledger.do(emitting(session.id))
    assert [event.seq for event in ledger.events(session)] == [11, 12]


def test_age_removes_what_is_too_old(ledger: Ledger) -> None:
    session = ledger.create()
    ledger.group(*[emitting(session.id) for _ in range(9)])
    ledger.conn.execute("UPDATE events SET at = at - 100000 WHERE seq <= 3")
    assert prune(ledger, session.id, keep=100, age=50_000) == 3
    assert [event.seq for event in ledger.events(session)] == [3, *range(4, 11)]
    assert prune(ledger, session.id, keep=100, age=50_000) == 0


def test_one_call_removes_so_many(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "EVENTS", 4)
    ledger.group(*[emitting("") for _ in range(10)])
    assert [prune(ledger, "", keep=1) for _ in range(4)] == [4, 4, 1, 0]
    assert [event.seq for event in ledger.events("")] == [9, 10]


def test_turns_beyond_a_count_go_with_their_items(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "TURNS", 2)
    session, turn = ledger.running(*map(str, range(7)))
    ids: list[str] = []
    for _ in range(5):
        ledger.item(turn, "x" * 300_000)
        ids.append(turn.id)
        ledger.end(turn)
        turn = ledger.claim(session)
    assert [prune(ledger, session.id, 10_000, turns=2) for _ in range(3)] == [2, 1, 0]
    left, _ = reads.turns(ledger.reader, session.id)
    assert [one.input for one in left] == ["3", "4", "5", "6"]
    assert {turn for (turn,) in ledger.conn.execute("SELECT turn FROM items")} == set(ids[3:])
    items = {id for (id,) in ledger.conn.execute("SELECT id FROM items")}
    assert {item for (item,) in ledger.conn.execute("SELECT item FROM chunks")} == items
    assert prune(ledger, session.id, 10_000, turns=0) == 2
    assert [one.input for one in reads.turns(ledger.reader, session.id)[0]] == ["5", "6"]


def test_long_contents_are_removed_a_turn_at_a_call(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BYTES", 500_000)
    session, turn = ledger.running(*map(str, range(4)))
    for text in ("x" * 600_000, "x" * 300_000, "x" * 100_000):
        ledger.item(turn, text)
        ledger.end(turn)
        turn = ledger.claim(session)
    assert [prune(ledger, session.id, 10_000, turns=0) for _ in range(3)] == [1, 2, 0]


def test_a_large_session_is_deleted_at_once_and_swept_little_by_little(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, limit in (("EVENTS", 10), ("TURNS", 2)):
        monkeypatch.setattr(retention, name, limit)
    other = ledger.create()
    session, turn = ledger.running(*map(str, range(7)))
    item = ledger.item(turn, "x" * 300_000)
    ledger.end(turn)
    ledger.group(*[emitting(session.id) for _ in range(30)])
    last = ledger.session(session).seq
    ledger.do(sessions.delete, session.id, force=True)

    for after in range(last + 2):
        found = [event.kind for event in ledger.events(session, after)]
        assert found == ["events.pruned", "session.deleted"][(after >= last) + (after > last) :]
    assert [event.kind for event in walk(ledger, None, 3)] == ["session.created", "events.pruned", "session.deleted"]
    with pytest.raises(TurnNotFound):
        ledger.read(reads.turn, turn.id)
    with pytest.raises(ItemNotFound):
        ledger.read(reads.item_bytes, item, 0, 1)
    with pytest.raises(SessionNotFound):
        ledger.do(sending(session.id))

    assert ledger.read(reads.prunable, 10_000, None) == [session.id]
    pieces = 0
    while prune(ledger, session.id, 10_000):
        pieces += 1
    assert pieces >= 3
    assert ledger.read(reads.prunable, 10_000, None) == []
    assert len(walk(ledger, None)) == 3
    for table, count in (("turns", 0), ("items", 0), ("chunks", 0), ("events", 2), ("sessions", 1)):
        assert ledger.conn.execute(f"SELECT count(*) FROM {table}").fetchone() == (count,), table
    assert ledger.session(other) == other


def test_what_there_is_to_prune(ledger: Ledger) -> None:
    few, many, _ = (job.result for job in ledger.group(creating(), creating(), creating()))
    ledger.group(*[emitting(id) for _ in range(10) for id in (many.id, "")])

    def prunable(keep: int, age: int | None = None, turns: int | None = None) -> set[str]:
        return set(ledger.read(reads.prunable, keep, age, turns))

    assert prunable(11) == set()
    assert prunable(10) == {many.id}
    assert prunable(5) == {many.id, ""}
    prune(ledger, many.id, keep=5)
    assert prunable(5) == {""}
    ledger.conn.execute("UPDATE events SET at = at - 100000 WHERE session = ?", (few.id,))
    assert prunable(100, 50_000) == {few.id}
    session, turn = ledger.running("one", "two")
    ledger.end(turn)
    ledger.end(ledger.claim(session))
    assert prunable(100, None, 2) == set() and prunable(100, None, 1) == {session.id}
    prune(ledger, session.id, 100, turns=1)
    assert prunable(100, None, 1) == set()
