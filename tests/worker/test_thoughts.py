"""Sequential thinking without a process: what makes a thought valid, and where it goes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.protocol import rpc
from roost.protocol import worker as wire
from roost.protocol.errors import InvalidParams, LimitReached, RoostError
from roost.worker import thoughts as limits
from roost.worker.thoughts import Thoughts


def thought(number: int = 1, total: int = 3, **fields: Any) -> dict[str, Any]:
    given = {"thought": f"thought {number}", "thought_number": number, "total_thoughts": total}
    return given | {"next_thought_needed": True} | fields


def test_the_total_is_raised_to_the_number() -> None:
    thinking = Thoughts()
    assert thinking.add(thought(5, 3))["total_thoughts"] == 5
    assert thinking.history[0]["total_thoughts"] == 5
    assert thinking.add(thought(6, 9))["total_thoughts"] == 9


def test_a_thought_with_origin_and_id_is_in_history_and_in_its_branch() -> None:
    thinking = Thoughts()
    thinking.add(thought(1))
    thinking.add(thought(2, branch_from_thought=1, branch_id="alt"))
    thinking.add(thought(3, branch_from_thought=1))
    thinking.add(thought(4, branch_id="lonely"))
    assert [t["thought_number"] for t in thinking.history] == [1, 2, 3, 4]
    assert {name: [t["thought_number"] for t in branch] for name, branch in thinking.branches.items()} == {"alt": [2]}


def test_a_state_is_a_copy() -> None:
    thinking = Thoughts()
    thinking.add(thought(1))
    thinking.add(thought(2, branch_from_thought=1, branch_id="alt"))
    state = thinking.state()
    state["history"][0]["thought"] = state["branches"]["alt"][0]["thought"] = "changed"
    thinking.add(thought(3, branch_from_thought=1, branch_id="alt"))
    assert (len(state["history"]), len(state["branches"]["alt"])) == (2, 1)
    assert [t["thought"] for t in thinking.history] == ["thought 1", "thought 2", "thought 3"]
    assert [t["thought"] for t in thinking.branches["alt"]] == ["thought 2", "thought 3"]


def test_what_is_null_was_not_said() -> None:
    thinking = Thoughts()
    thinking.add(thought(1, is_revision=None, revises_thought=None, branch_id=None))
    assert thinking.history == [thought(1)]


@pytest.mark.parametrize(
    ("wrong", "field", "why"),
    [
        ({"thought": 5}, "thought", "must be text"),
        ({"thought": " \n"}, "thought", "is empty"),
        ({"thought": "é" * 4001}, "thought", "has 8002 bytes; it may have 8000"),
        ({"thought": "\ud800"}, "thought", "half a surrogate pair"),
        ({"thought_number": 0}, "thought_number", "must be from 1 to 1000000"),
        ({"thought_number": 1_000_001}, "thought_number", "must be from 1 to 1000000"),
        ({"thought_number": True}, "thought_number", "must be a whole number"),
        ({"thought_number": 1.0}, "thought_number", "must be a whole number"),
        ({"total_thoughts": -1}, "total_thoughts", "must be from 1"),
        ({"total_thoughts": None}, "total_thoughts", "must be a whole number"),
        ({"next_thought_needed": 1}, "next_thought_needed", "must be true or false"),
        ({"is_revision": True}, "revises_thought", "is missing"),
        ({"is_revision": True, "revises_thought": 2}, "revises_thought", "there is no thought of that number"),
        ({"revises_thought": 0}, "revises_thought", "must be from 1"),
        ({"branch_from_thought": 9, "branch_id": "x"}, "branch_from_thought", "there is no thought of that number"),
        ({"branch_id": ""}, "branch_id", "must be 1 to 64 of"),
        ({"branch_id": "a b"}, "branch_id", "must be 1 to 64 of"),
        ({"branch_id": "é"}, "branch_id", "must be 1 to 64 of"),
        ({"branch_id": "x" * 65}, "branch_id", "must be 1 to 64 of"),
        ({"mood": "good"}, "mood", "is not a field of a thought"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_changes(wrong: dict[str, Any], field: str, why: str) -> None:
    thinking = Thoughts()
    thinking.add(thought(1))
    with pytest.raises(InvalidParams) as refused:
        thinking.add(thought(2) | wrong)
    assert refused.value.data["field"] == field
    assert refused.value.message.startswith(f"{field} ") and why in refused.value.message
    assert thinking.history == [thought(1)] and thinking.branches == {}


def test_a_history_that_is_full_refuses_and_loses_nothing() -> None:
    thinking = Thoughts()
    for number in range(1, limits.MAX_THOUGHTS + 1):
        thinking.add(thought(number))
    with pytest.raises(LimitReached, match="1000 thoughts, which is the most; clear the session"):
        thinking.add(thought(limits.MAX_THOUGHTS + 1))
    assert len(thinking.history) == limits.MAX_THOUGHTS
    assert thinking.history[0]["thought_number"] == 1


def test_a_51st_branch_is_refused_and_the_others_go_on() -> None:
    thinking = Thoughts()
    thinking.add(thought(1))
    for number in range(limits.MAX_BRANCHES):
        thinking.add(thought(2, branch_from_thought=1, branch_id=f"branch-{number}"))
    with pytest.raises(LimitReached, match="50 branches, which is the most"):
        thinking.add(thought(3, branch_from_thought=1, branch_id="one-more"))
    thinking.add(thought(3, branch_from_thought=1, branch_id="branch-0"))
    assert len(thinking.branches) == limits.MAX_BRANCHES
    assert len(thinking.branches["branch-0"]) == 2


def test_what_could_not_be_kept_is_refused_and_all_before_is_kept() -> None:
    thinking = Thoughts()
    largest = {
        "thought": "x" * limits.MAX_BYTES,
        "thought_number": limits.MAX_NUMBER,
        "total_thoughts": limits.MAX_NUMBER,
        "next_thought_needed": True,
        "is_revision": True,
        "revises_thought": limits.MAX_NUMBER,
        "branch_from_thought": limits.MAX_NUMBER,
        "needs_more_thoughts": True,
    }
    thinking.add({**thought(1), "thought_number": limits.MAX_NUMBER})
    with pytest.raises(LimitReached, match=r"of 15728640 bytes, and this one .*; clear the session"):
        for number in range(limits.MAX_THOUGHTS):
            thinking.add({**largest, "branch_id": f"{number % limits.MAX_BRANCHES:064}"})
    kept = len(rpc.pack(thinking.state()))
    assert wire.MOST_STATE - 3 * limits.MAX_BYTES < kept <= wire.MOST_STATE
    assert Thoughts.restored(thinking.state()).history == thinking.history


NUMBERS = st.integers(min_value=-1, max_value=6) | st.sampled_from([limits.MAX_NUMBER, 2**70, True, 1.5, None, "1"])
WORDS = st.text(max_size=5) | st.sampled_from(["alt", "other-1", "", None, 3])
FLAGS = st.booleans() | st.sampled_from([None, 0, "true"])
GIVEN = st.fixed_dictionaries(
    {},
    optional={
        "thought": WORDS,
        "thought_number": NUMBERS,
        "total_thoughts": NUMBERS,
        "next_thought_needed": FLAGS,
        "is_revision": FLAGS,
        "revises_thought": NUMBERS,
        "branch_from_thought": NUMBERS,
        "branch_id": WORDS,
        "needs_more_thoughts": FLAGS,
        "unknown": st.none(),
    },
)
LIKELY = st.builds(
    thought,
    number=st.integers(1, 6),
    total=st.integers(1, 6),
    branch_from_thought=st.none() | st.integers(1, 6),
    branch_id=st.sampled_from([None, "alt", "other-1"]),
)


@given(st.lists(LIKELY | GIVEN | WORDS, max_size=30))
def test_history_and_branches_agree_whatever_is_thought(prompts: list[Any]) -> None:
    """Each thought is taken whole or refused whole, and the state restores to itself."""
    thinking = Thoughts()
    for prompt in prompts:
        before = thinking.state()
        try:
            answer = thinking.add(thinking.next(prompt) if isinstance(prompt, str) else prompt)
        except RoostError as refused:
            assert refused.data["field"] and thinking.state() == before
            continue
        assert answer["history_length"] == len(thinking.history) == len(before["history"]) + 1
        assert answer["branches"] == list(thinking.branches)
        assert 1 <= answer["thought_number"] <= answer["total_thoughts"]
    branched = [t for t in thinking.history if "branch_id" in t and "branch_from_thought" in t]
    assert {name: [t for t in branched if t["branch_id"] == name] for name in thinking.branches} == thinking.branches
    assert sum(map(len, thinking.branches.values())) == len(branched)
    assert Thoughts.restored(thinking.state()).state() == thinking.state()
