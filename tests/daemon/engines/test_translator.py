"""What a worker reports becomes changes of items; what it must not say is refused, and everything is bounded."""

from typing import Any

import pytest

from roost.daemon.core.said import Append, End, Progress, Start, UsageReport
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
