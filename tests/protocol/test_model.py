"""Nouns, verbs and events: strict on what comes in, and all of them listed."""

import json
import re
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from roost.protocol import events, feeds, methods, model, params
from roost.protocol.events import EVENTS
from roost.protocol.methods import METHODS
from roost.protocol.model import new_id


def test_an_id_is_its_kinds_letter_and_80_random_bits() -> None:
    ids = {new_id("s") for _ in range(1000)}
    assert len(ids) == 1000
    assert all(re.fullmatch(r"s-[a-z2-7]{16}", one) for one in ids)


def test_every_method_is_noun_dot_verb_with_models_of_its_own_room() -> None:
    for name, method in METHODS.items():
        assert re.fullmatch(r"hello|[a-z]+\.[a-z]+", name)
        assert issubclass(method.params, params.Params) and issubclass(method.result, model.Noun)
        assert method.summary.endswith(".")


@pytest.mark.parametrize("name", sorted(METHODS))
def test_unknown_fields_are_errors(name: str) -> None:
    with pytest.raises(ValidationError, match="no_such_field"):
        METHODS[name].params.model_validate({"no_such_field": 1})


def test_every_class_of_an_event_is_registered() -> None:
    shared = {"Kind", "TurnEnded", "ItemEnded"}
    classes = {c.__name__ for c in vars(events).values() if isinstance(c, type) and c.__module__ == events.__name__}
    assert classes - shared == {c.__name__ for c in EVENTS.values()}
    for kind, cls in EVENTS.items():
        assert cls.__name__ == kind.replace(".", "_").title().replace("_", "")
        TypeAdapter(cls).json_schema()


@pytest.mark.parametrize(
    ("params", "given", "culprit"),
    [
        (methods.SessionCreateParams, {"workspace": "/", "name": "a/b"}, "name"),
        (methods.SessionCreateParams, {"workspace": "/", "env": {"A=B": "x"}}, "env"),
        (methods.SessionCreateParams, {"workspace": "/", "env": {"A": "nul\0"}}, "env"),
        (methods.SessionCreateParams, {"workspace": "/", "after": {"failed": "explode"}}, "failed"),
        (methods.SessionCreateParams, {"workspace": b"/"}, "workspace"),
        (methods.TurnSendParams, {"session": "s", "input": ""}, "input"),
        (methods.TurnSendParams, {"session": "s", "input": "x", "timeout": 0}, "timeout"),
        (methods.TurnSendParams, {"session": "s", "input": "x", "timeout": "5"}, "timeout"),
        (methods.SessionListParams, {"limit": 0}, "limit"),
        (methods.SessionListParams, {"state": "asleep"}, "state"),
        (methods.SessionListParams, {"cursor": "²"}, "cursor"),
        (methods.SessionListParams, {"cursor": "².s-aaaaaaaaaaaaaaaa"}, "cursor"),
        (methods.SessionListParams, {"cursor": "17"}, "cursor"),
        (feeds.EventsReadParams, {"session": "s", "all": True}, "give session"),
        (feeds.EventsReadParams, {}, "give session"),
        (feeds.EventsReadParams, {"all": True, "after": -1}, "after"),
        (methods.SessionUpdateParams, {"session": "s"}, "nothing to change"),
        (methods.SessionUpdateParams, {"session": "s", "name": None}, "nothing to change"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(params: type[BaseModel], given: dict[str, Any], culprit: str) -> None:
    with pytest.raises(ValidationError, match=culprit):
        params.model_validate(given)


def integers(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas of all integers in a schema, however deep."""
    found: list[dict[str, Any]] = []
    json.loads(json.dumps(schema), object_hook=found.append)
    return [one for one in found if one.get("type") == "integer"]


@pytest.mark.parametrize("name", sorted(METHODS))
def test_no_integer_that_is_taken_is_too_large_for_the_store_and_for_records(name: str) -> None:
    schema = METHODS[name].params.model_json_schema()
    assert [found for found in integers(schema) if found.get("maximum", 2**64) > 2**53] == []


def test_records_are_frozen_and_strict_about_their_fields() -> None:
    usage = model.Usage(input_tokens=3)
    with pytest.raises(ValidationError):
        usage.input_tokens = 4
    with pytest.raises(ValidationError):
        model.Usage(tokens=3)  # type: ignore[call-arg]
