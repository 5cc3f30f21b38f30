"""The worker `thinking`: prompts in, items and state out."""

import json
from pathlib import Path
from typing import Any

import pytest

from helpers.worker_driver import THINKING, Driver
from roost.protocol.errors import InternalError


@pytest.fixture(scope="module")
def command() -> list[str]:
    return THINKING


@pytest.fixture
def thinking(worker: Driver) -> Driver:
    """The worker of all tests, cleared of what the one before did."""
    worker.call("state.clear")
    return worker


def thought(number: int = 1, total: int = 3, **fields: Any) -> str:
    """A prompt."""
    given = {"thought": f"thought {number}", "thought_number": number, "total_thoughts": total}
    return json.dumps(given | {"next_thought_needed": True} | fields)


def answered(worker: Driver) -> dict[str, Any]:
    """The answer of the last turn."""
    [text] = [item.text for item in worker.items.values() if item.kind == "agent_message"]
    answer: dict[str, Any] = json.loads(text)
    return answer


def test_a_thought_is_answered_with_where_the_thinking_stands(thinking: Driver) -> None:
    assert thinking.turn(thought(1))["status"] == "completed"
    assert thinking.said[0] == ("thought", "thought 1")
    assert answered(thinking) == {
        "thought_number": 1,
        "total_thoughts": 3,
        "next_thought_needed": True,
        "branches": [],
        "history_length": 1,
    }
    thinking.turn(thought(2, branch_from_thought=1, branch_id="alt"))
    assert answered(thinking)["branches"] == ["alt"]
    assert answered(thinking)["history_length"] == 2


def test_a_prompt_that_is_plain_text_is_the_next_thought(thinking: Driver) -> None:
    for expected in ((1, 1), (2, 2)):
        thinking.turn("and then?")
        answer = answered(thinking)
        assert (answer["thought_number"], answer["total_thoughts"]) == expected
        assert answer["next_thought_needed"] is True
    thinking.turn(thought(3, 9))
    thinking.turn("[not] {JSON}")
    assert (answered(thinking)["thought_number"], answered(thinking)["total_thoughts"]) == (4, 9)


def test_items_say_what_kind_of_thought_it_is(thinking: Driver) -> None:
    titles: list[str] = []
    revision = thought(2, is_revision=True, revises_thought=1)
    branch, lonely = thought(4, branch_from_thought=1, branch_id="alt"), thought(5, branch_id="nowhere")
    for prompt in (thought(1), revision, branch, lonely):
        thinking.turn(prompt)
        titles += [item.title for item in thinking.items.values() if item.kind == "thought"]
    assert titles == ["thought 1 of 3", "thought 2 of 3, revises 1", "thought 4 of 4, branch alt", "thought 5 of 5"]


def test_the_session_outlives_its_last_thought_and_a_clear(thinking: Driver) -> None:
    thinking.turn(thought(1, next_thought_needed=False))
    assert answered(thinking)["next_thought_needed"] is False
    thinking.turn("one more")
    assert answered(thinking)["history_length"] == 2
    assert thinking.call("state.clear") == {"state": {"history": [], "branches": {}}}
    thinking.turn("from the beginning")
    assert answered(thinking)["thought_number"] == 1


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        ('{"thought": ', "begins like JSON and is not"),
        ('{"thought":' + "[" * 100_000, "begins like JSON and is not"),
        ('{"thought": "x"}', "thought_number is missing"),
        (thought(2, revises_thought=7), "revises_thought is 7, and there is no thought of that number"),
    ],
)
def test_a_thought_that_is_not_valid_fails_its_turn_and_changes_nothing(
    prompt: str, why: str, thinking: Driver
) -> None:
    before = thinking.turn(thought(1))["state"]
    answer = thinking.turn(prompt)
    assert answer["status"] == "failed" and why in answer["message"]
    assert "field" in answer["data"]
    assert thinking.said == []
    assert answer["state"] == before


def test_prompts_are_applied_one_at_a_time_in_order(thinking: Driver) -> None:
    """One turn after the other, no update lost."""
    for number in range(1, 51):
        thinking.turn(f"step {number}")
    history: list[dict[str, Any]] = thinking.call("state.get")["state"]["history"]
    assert [thought["thought"] for thought in history] == [f"step {number}" for number in range(1, 51)]
    assert [thought["thought_number"] for thought in history] == list(range(1, 51))


def test_a_new_process_goes_on_with_history_and_branches(thinking: Driver, tmp_path: Path) -> None:
    """History and branches equal what was saved."""
    thinking.turn(thought(1))
    state = thinking.turn(thought(2, branch_from_thought=1, branch_id="alt", is_revision=False))["state"]
    with Driver(THINKING, tmp_path) as restored:
        restored.initialize(state=state)
        assert restored.call("state.get") == {"state": state}
        restored.turn("next")
        assert answered(restored)["history_length"] == 3
        assert answered(restored)["branches"] == ["alt"]


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (7, "not a state of the thinking worker"),
        ([], "not a state of the thinking worker"),
        ({"cwd": "/", "env": {}}, "not a state of the thinking worker"),
        ({"history": [{"thought": "x"}], "branches": {}}, "history[0]: thought_number is missing"),
        ({"history": [], "branches": {"alt": []}}, "its branches are not those of its history"),
        ({"history": [], "branches": {}, "version": 9}, "its branches are not those of its history"),
    ],
)
def test_a_state_that_it_does_not_understand_is_refused_with_the_reason(state: Any, why: str, fresh: Driver) -> None:
    with pytest.raises(InternalError) as refused:
        fresh.initialize(state=state)
    assert why in refused.value.message
