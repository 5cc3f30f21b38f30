"""What a worker reports becomes changes of items; what it must not say is refused, and everything is bounded."""

from typing import Any

import pytest

from roost.daemon.core.said import Append, End, Progress, Start, Update, UsageReport
from roost.daemon.engines.translator import LONGEST_NAME, LONGEST_TITLE, Translator
from roost.protocol.errors import InvalidParams
from roost.protocol.model import ItemKind, ItemState, Usage
from roost.protocol.worker import MOST_DATA, MOST_OPEN


@pytest.fixture
def translator() -> Translator:
    made = Translator()
    made.change("item.start", {"item": "open", "kind": "command"})
    return made


def test_its_names_become_ids() -> None:
    translator = Translator()
    begun = translator.change("item.start", {"item": "m", "kind": "thought", "title": "t", "data": {"n": 1}})
    assert isinstance(begun, Start) and begun.item.startswith("i-")
    assert begun[1:] == (ItemKind.thought, "t", {"n": 1})
    assert translator.change("item.delta", {"item": "m", "text": "x"}) == Append(begun.item, "x")
    ended = translator.change("item.end", {"item": "m", "state": "failed", "data": {"m": 2}})
    assert ended == End(begun.item, ItemState.failed, {"m": 2})
    again = translator.change("item.start", {"item": "m", "kind": "thought"})
    assert isinstance(again, Start) and again.item != begun.item, "the name is free again"


def test_progress_and_usage() -> None:
    translator = Translator()
    assert translator.change("progress", {"message": "half", "fraction": 0.5}) == Progress("half", 0.5)
    assert translator.change("progress", {"message": "", "fraction": 7}) == Progress("", 1.0)
    assert translator.change("progress", {"message": "", "fraction": float("nan")}) == Progress("", 0.0)
    assert translator.change("progress", {"message": "x" * 9999}) == Progress("x" * LONGEST_TITLE, None)
    used = {"input_tokens": 3, "cost": 0.5}
    assert translator.change("usage", used) == UsageReport(Usage(input_tokens=3, cost=0.5))


@pytest.mark.parametrize(
    ("method", "params", "field"),
    [
        ("item.start", {"item": "open", "kind": "command"}, "item"),
        ("item.start", {"item": "m" * (LONGEST_NAME + 1), "kind": "command"}, "item"),
        ("item.start", {"item": "m", "kind": "no kind"}, "kind"),
        ("item.start", {"item": "m", "kind": "command", "data": {"x": "x" * MOST_DATA}}, "data"),
        ("item.start", {"item": "m", "kind": "command", "data": {1: "x"}}, "data"),
        ("item.delta", {"item": "closed", "text": "x"}, "item"),
        ("item.end", {"item": "closed", "state": "completed"}, "item"),
        ("item.end", {"item": "open", "state": "interrupted"}, "state"),
        ("item.end", {"item": "open", "state": "completed", "data": {"x": "x" * MOST_DATA}}, "data"),
        ("usage", {"output_tokens": -1}, "output_tokens"),
        ("usage", {"output_tokens": 2**60}, "output_tokens"),
        ("usage", {"cost": float("nan")}, "cost"),
    ],
)
def test_what_it_must_not_say_is_refused(
    translator: Translator, method: str, params: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidParams) as caught:
        translator.change(method, params)
    assert caught.value.data["field"] == field


def test_refused_data_leaves_the_name_free(translator: Translator) -> None:
    with pytest.raises(InvalidParams):
        translator.change("item.start", {"item": "m", "kind": "command", "data": {"x": "x" * MOST_DATA}})
    assert isinstance(translator.change("item.start", {"item": "m", "kind": "command"}), Start)


def test_the_number_of_open_items_is_bounded() -> None:
    translator = Translator()
    for n in range(MOST_OPEN):
        translator.change("item.start", {"item": str(n), "kind": "command"})
    with pytest.raises(InvalidParams, match=str(MOST_OPEN)):
        translator.change("item.start", {"item": "one more", "kind": "command"})


def test_an_item_is_updated_open_or_ended() -> None:
    translator = Translator()
    started = translator.change("item.start", {"item": "a", "kind": "tool_call"})
    assert isinstance(started, Start)
    early = translator.change("item.update", {"item": "a", "title": "T" * 5000})
    assert early == Update(started.item, "T" * 4096, {}, None)
    with pytest.raises(InvalidParams, match="item 'a' is open; its text comes by"):
        translator.change("item.update", {"item": "a", "text": "x"})
    translator.change("item.end", {"item": "a", "state": "completed"})
    late = translator.change("item.update", {"item": "a", "text": "x", "data": {"n": 1}})
    assert late == Update(started.item, None, {"n": 1}, "x")
    with pytest.raises(InvalidParams, match="65537 bytes and may have 65536"):
        translator.change("item.update", {"item": "a", "text": "x" * 65537})
    with pytest.raises(InvalidParams, match="there is no item 'b' in this turn"):
        translator.change("item.update", {"item": "b", "title": "x"})


def test_the_newest_ended_items_can_be_updated() -> None:
    translator = Translator()
    for number in range(1001):
        translator.change("item.start", {"item": str(number), "kind": "status"})
        translator.change("item.end", {"item": str(number), "state": "completed"})
    assert isinstance(translator.change("item.update", {"item": "1", "title": "x"}), Update)
    with pytest.raises(InvalidParams, match="no item '0'"):
        translator.change("item.update", {"item": "0", "title": "x"})
