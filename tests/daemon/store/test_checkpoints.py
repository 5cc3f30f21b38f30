"""Saved states, and the record of children."""

import pytest

from helpers.ledger import Ledger, data
from roost.daemon.store import Child, checkpoints, children
from roost.daemon.store.children import Keeper
from roost.protocol.errors import LimitReached, SessionNotFound
from roost.protocol.model import DAEMON


def test_a_state_is_saved_with_the_turn_it_holds(ledger: Ledger) -> None:
    session, turn = ledger.running()
    saved = ledger.do(checkpoints.save, session.id, name="latest", state=b"\xc0", through_turn=turn.id)
    assert ledger.read(checkpoints.load, session.id, "latest") == (saved, b"\xc0")
    shown = {"name": "latest", "through_turn": turn.id, "bytes": 1, "author": DAEMON.to_wire()}
    assert data(ledger.events(session)[-1]) == shown
    now = ledger.session(session)
    assert (now.checkpoint_at, now.through_turn) == (saved.at, turn.id)


def test_a_named_one_is_apart_from_the_latest(ledger: Ledger) -> None:
    session = ledger.create()
    for name, state in (("mark", b"1"), ("latest", b"2"), ("mark", b"3")):
        ledger.do(checkpoints.save, session.id, name=name, state=state, through_turn=None)
    found = ledger.read(checkpoints.listing, session.id)
    assert [(one.name, one.bytes) for one in found] == [("latest", 1), ("mark", 1)]
    loaded = ledger.read(checkpoints.load, session.id, "mark")
    assert loaded is not None and loaded[1] == b"3"


def test_one_that_is_not_there(ledger: Ledger) -> None:
    session = ledger.create()
    assert ledger.read(checkpoints.load, session.id, "none") is None
    assert checkpoints.not_found(session.id, "none").data == {"session": session.id, "checkpoint": "none"}
    with pytest.raises(SessionNotFound):
        ledger.do(checkpoints.save, "s-none", name="latest", state=b"", through_turn=None)


def test_a_session_has_so_many_names_at_most(ledger: Ledger) -> None:
    session = ledger.create()

    def save(name: str) -> None:
        ledger.do(checkpoints.save, session.id, name=name, state=b"", through_turn=None)

    for n in range(100):
        save(f"mark-{n}")
    with pytest.raises(LimitReached, match="100 checkpoints"):
        save("latest")
    save("mark-7")


def test_a_cleared_state_is_replaced_or_gone(ledger: Ledger) -> None:
    """What was thought is forgotten, the session stays."""
    session, turn = ledger.running()
    ledger.end(turn, engine_state=b"full")
    ledger.do(checkpoints.clear, session.id, b"empty")
    loaded = ledger.read(checkpoints.load, session.id, "latest")
    assert loaded is not None and (loaded[1], loaded[0].through_turn) == (b"empty", turn.id)
    ledger.do(checkpoints.clear, session.id, None)
    assert ledger.read(checkpoints.load, session.id, "latest") is None
    now = ledger.session(session)
    assert (now.checkpoint_at, now.through_turn) == (None, None)
    assert ledger.kinds(session)[-2:] == ["session.cleared"] * 2


def test_children_are_recorded_until_they_have_ended(ledger: Ledger) -> None:
    session = ledger.create()
    first = Child(session.id, "c-a", 10, 123456, "boot", 10, 10)
    second = Child(session.id, "c-b", 11, 123460, "boot", 11, 11)
    for child in (first, second, first):
        ledger.do(children.spawned, child)
    assert ledger.read(children.recorded) == [first, second]
    ledger.do(children.ended, session.id, "c-a", 10)
    ledger.do(children.ended, session.id, "c-a", 10)
    assert ledger.read(children.recorded) == [second]


def test_the_last_keeper_of_children_is_recorded(ledger: Ledger) -> None:
    assert ledger.read(children.keeper) is None
    one, other = Keeper(5, 100, "boot", "/run/a\udcff.sock", "1:2"), Keeper(5, 200, "boot", "/run/b.sock", "1:3")
    for keeper in (one, other, one):
        ledger.do(children.keeps, keeper)
        assert ledger.read(children.keeper) == keeper
