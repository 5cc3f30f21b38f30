"""What is wrong with a request is said in one sentence that names the field."""

from typing import Any

import pytest

from roost.daemon.server.params import nearest, validated
from roost.protocol.errors import InvalidParams
from roost.protocol.methods import METHODS


def refused(method: str, **raw: Any) -> InvalidParams:
    with pytest.raises(InvalidParams) as caught:
        validated(method, METHODS[method].params, raw)
    return caught.value


def test_what_is_right_comes_out_as_its_model() -> None:
    params = validated("session.list", METHODS["session.list"].params, {"state": "ready", "limit": 5})
    assert params.model_dump() == {"archived": False, "state": "ready", "limit": 5, "cursor": ""}


@pytest.mark.parametrize(
    ("method", "raw", "message"),
    [
        ("session.get", {}, "session.get: session is missing"),
        ("session.get", {"session": 5}, "session.get: session should be a valid string"),
        ("session.get", {"sesion": "x", "session": "s"}, "there is no field 'sesion'; did you mean 'session'?"),
        ("daemon.status", {"zzz": 1}, "daemon.status: there is no field 'zzz'; it takes none"),
        ("events.read", {"all": True, "zzz": 1}, "there is no field 'zzz'; it takes session, all, kinds, after, limit"),
        ("session.list", {"limit": 0}, "session.list: limit should be greater than or equal to 1"),
        ("session.list", {"limit": True}, "session.list: limit should be a valid integer"),
        ("session.list", {"state": "gone"}, "session.list: state should be 'idle', "),
        ("session.create", {"workspace": "/", "name": "-"}, "session.create: name: string should match pattern"),
        ("session.create", {"workspace": "/", "env": {"A": 1}}, "session.create: env.A should be a valid string"),
        ("session.create", {"workspace": "/", "env": {"A=": ""}}, "session.create: env.A=: string should match"),
        (
            "session.update",
            {"session": "s", "after": {"fialed": "hold"}},
            "no field 'after.fialed'; did you mean 'failed'?",
        ),
        ("session.update", {"session": "s"}, "session.update: nothing to change was given: name, after"),
        ("events.read", {}, "events.read: give session, or all = true"),
    ],
)
def test_the_message_names_the_field_and_the_problem(method: str, raw: dict[str, Any], message: str) -> None:
    assert message in refused(method, **raw).message


def test_all_that_is_wrong_is_in_the_data() -> None:
    error = refused("session.create", name=1, engine=2)
    assert error.data["method"] == "session.create"
    assert error.data["field"] == "engine"
    assert [each["field"] for each in error.data["errors"]] == ["engine", "name", "workspace"]
    assert error.message == f"session.create: {error.data['problem']}"


def test_what_a_secret_was_is_not_repeated() -> None:
    error = refused("session.create", workspace="/", env={"TOKEN": "hunter2\0"})
    assert "hunter2" not in repr(error.to_wire())


def test_a_long_unknown_name_and_a_crowd_of_them_stay_short() -> None:
    error = refused("daemon.status", **{"x" * 100_000: 1}, **{f"f{n}": n for n in range(1000)})
    assert len(repr(error.to_wire())) < 10_000


def test_a_name_far_too_long_is_not_compared() -> None:
    assert nearest("session.gte", METHODS) == "session.get"
    assert nearest("session.get" * 10, METHODS) is None
