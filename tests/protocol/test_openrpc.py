"""The OpenRPC document and the page made from it."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from roost.protocol.errors import ERRORS
from roost.protocol.events import EVENTS
from roost.protocol.methods import METHODS
from roost.protocol.openrpc import document, markdown

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return document()


def schema_of(described: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """``schema`` with the definitions that it refers to."""
    return {**schema, "components": described["components"]}


def checker(schema: dict[str, Any]) -> Any:
    return jsonschema.Draft202012Validator(schema)


def test_the_page_is_not_stale() -> None:
    assert PAGE.read_text() == markdown(), "run: python -m roost.protocol.openrpc > docs/protocol.md"


def test_every_method_error_and_kind_of_event_is_there(described: dict[str, Any]) -> None:
    assert [method["name"] for method in described["methods"]] == list(METHODS)
    assert {m["name"] for m in described["methods"] if m["x-changes"]} == {
        m for m, row in METHODS.items() if row.changes
    }
    assert set(described["components"]["errors"]) == set(ERRORS)
    assert set(described["components"]["x-events"]) == set(EVENTS)


def test_every_schema_is_a_json_schema_without_a_loose_reference(described: dict[str, Any]) -> None:
    components = described["components"]
    schemas = [
        *(param["schema"] for method in described["methods"] for param in method["params"]),
        *(method["result"]["schema"] for method in described["methods"]),
        *components["x-events"].values(),
        *components["x-notifications"].values(),
    ]
    for schema in schemas:
        whole = schema_of(described, schema)
        jsonschema.Draft202012Validator.check_schema(whole)
        # Following every reference is what validating does; the instance need not be right.
        list(checker(whole).iter_errors({}))


def test_the_schema_of_a_result_takes_what_the_daemon_sends_and_nothing_else(described: dict[str, Any]) -> None:
    (result,) = [m["result"]["schema"] for m in described["methods"] if m["name"] == "engine.list"]
    check = checker(schema_of(described, result))
    engine = {"name": "shell", "kind": "worker", "command": ["python"], "default": True}
    assert check.is_valid({"engines": [engine]})
    assert not check.is_valid({"engines": [engine | {"kind": "cloud"}]})


def test_a_param_says_whether_it_must_be_given(described: dict[str, Any]) -> None:
    (params,) = [m["params"] for m in described["methods"] if m["name"] == "turn.send"]
    assert {p["name"] for p in params if p["required"]} == {"session", "input"}
