"""Keys are remembered within bounds of count and age."""

import pytest

from helpers.ledger import Ledger, sending
from roost.daemon.store import keys
from roost.protocol.errors import TurnNotFound


def count(ledger: Ledger) -> int:
    (found,) = ledger.conn.execute("SELECT count(*) FROM keys").fetchone()
    return int(found)


def test_only_so_many_are_remembered(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MAX_KEYS", 5)
    session = ledger.create()
    sent = [ledger.send(session, str(n), key=str(n)) for n in range(20)]
    assert count(ledger) == 5
    assert ledger.send(session, "19", key="19").id == sent[19].id
    assert ledger.send(session, "0", key="0").id != sent[0].id


def test_one_that_is_too_old_is_forgotten(ledger: Ledger) -> None:
    session = ledger.create()
    first = ledger.send(session, key="old")
    ledger.conn.execute("UPDATE keys SET at = at - ?", (keys.MAX_AGE + 1000,))
    ledger.send(session, key="new")
    assert count(ledger) == 1
    assert ledger.send(session, key="old").id != first.id


def test_a_key_whose_turn_was_removed_does_not_run_it_again(ledger: Ledger) -> None:
    session, turn = ledger.running("one")
    ledger.end(turn)
    kept = ledger.send(session, "two", key="k")
    ledger.end(ledger.claim(session))
    ledger.do(lambda tx: tx.conn.execute("DELETE FROM turns WHERE id = ?", (kept.id,)))
    with pytest.raises(TurnNotFound, match=kept.id):
        ledger.do(sending(session.id, "two", key="k"))


def test_a_key_of_one_verb_is_not_that_of_another(ledger: Ledger) -> None:
    session = ledger.create("a", key="k")
    assert ledger.send(session, key="k").session == session.id
