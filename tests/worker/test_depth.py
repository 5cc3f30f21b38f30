"""What a worker says may be nested as deep as its readers can take it; more is told to its author and not sent."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from helpers.worker_driver import Driver, script
from roost.protocol.errors import InternalError
from roost.protocol.worker import MOST_FAILURE, NESTING

ITEM, FAILURE, STATE = NESTING - 4, NESTING - 3, NESTING - 2
"""How deep each value can be, for what stands around it in its message."""


@pytest.fixture
def deep(tmp_path: Path) -> Generator[Driver]:
    with Driver(script("deep"), tmp_path) as worker:
        worker.initialize()
        yield worker


def depth(value: Any) -> int:
    return 1 + depth(value["x"]) if value else 0


def test_an_item_has_data_of_that_depth(deep: Driver) -> None:
    assert deep.turn(f"item {ITEM}")["status"] == "completed"
    [item] = deep.items.values()
    assert depth(item.data["value"]) == depth(item.data["more"]) == ITEM


def test_deeper_data_of_an_item_is_its_author_s_mistake(deep: Driver) -> None:
    answer = deep.turn(f"item {ITEM + 1}")
    told = f"LocalProtocolError: item.start: nested deeper than {NESTING}; send flatter data"
    assert (answer["status"], answer["message"]) == ("failed", told)
    assert deep.items == {}


def test_a_failure_has_data_of_that_depth(deep: Driver) -> None:
    assert depth(deep.turn(f"failure {FAILURE}")["data"]["value"]) == FAILURE


def test_deeper_data_of_a_failure_is_left_out_and_the_turn_still_says_why_it_failed(deep: Driver) -> None:
    deep.turn("state 1")
    told = f"no luck; its data is left out: nested deeper than {NESTING}; send flatter data"
    failed = {"status": "failed", "message": told, "exit_code": 3, "data": {}, "state": {"x": None}}
    assert deep.turn(f"failure {FAILURE + 1}") == failed


def test_what_roostd_says_it_takes_is_what_holds(tmp_path: Path) -> None:
    with Driver(script("deep"), tmp_path) as worker:
        worker.initialize(limits={"frame": 1 << 20, "nesting": 10})
        assert worker.turn("item 6")["status"] == "completed"
        assert "nested deeper than 10" in worker.turn("item 7")["message"]
        assert "nested deeper than 10" in worker.turn("failure 8")["message"]


def test_the_deepest_state_that_is_taken_is_restored(deep: Driver, tmp_path: Path) -> None:
    """It comes back inside one thing more than it was sent in."""
    state = deep.turn(f"state {STATE}")["state"]
    assert depth(state) == STATE
    assert "state" not in deep.turn(f"state {STATE + 1}")
    with pytest.raises(InternalError, match=f"nested deeper than {NESTING}"):
        deep.call("checkpoint")
    with Driver(script("deep"), tmp_path) as second:
        second.initialize(state=state)
        assert second.call("checkpoint") == {"state": state}


@pytest.mark.parametrize(
    ("saved", "why"),
    [
        ("deep", f"nested deeper than {NESTING}"),
        ("set", "cannot be encoded: can not serialize 'set' object"),
        ("x" * MOST_FAILURE, f"it has {MOST_FAILURE + 10} bytes and may have {MOST_FAILURE}"),
    ],
)
def test_an_error_s_data_that_cannot_be_sent_is_left_out(saved: str, why: str, tmp_path: Path) -> None:
    with Driver(script("deep"), tmp_path) as worker:
        with pytest.raises(InternalError, match="it is text; its data is left out: ") as caught:
            worker.initialize(state=saved)
        assert why in caught.value.message and caught.value.data == {}
        assert worker.call("ping") == {}
