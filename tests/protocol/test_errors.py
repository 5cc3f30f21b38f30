"""Every error has a name of its own, crosses the wire, and is raised again as the same class."""

import pytest

from roost.protocol import errors
from roost.protocol.errors import ERRORS, RoostError, StorageTrouble, UnknownError, from_wire


@pytest.mark.parametrize("name", sorted(ERRORS))
def test_round_trip(name: str) -> None:
    error = ERRORS[name]("say what to do", culprit="x", count=3)
    again = from_wire(error.to_wire())
    assert type(again) is type(error)
    assert (again.wire_name, again.message, again.data) == (name, "say what to do", {"culprit": "x", "count": 3})
    assert str(again) == "say what to do"


def test_names_and_codes_are_each_their_own() -> None:
    codes = [cls.code for cls in ERRORS.values()]
    assert len(set(codes)) == len(codes)
    assert all(cls.name == name for name, cls in ERRORS.items())
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, RoostError)]
    assert {c for c in classes} - {RoostError, StorageTrouble, UnknownError} == set(ERRORS.values())


def test_an_unknown_name_is_kept() -> None:
    """A newer daemon has errors that this side does not know: nothing of them is lost."""
    error = from_wire({"code": 999, "name": "brand_new", "message": "do this", "data": {"a": 1}})
    assert isinstance(error, UnknownError)
    assert (error.wire_name, error.message, error.data) == ("brand_new", "do this", {"a": 1})
    assert error.to_wire()["name"] == "brand_new"


@pytest.mark.parametrize("name", ["turn_failed", "brand_new"])
def test_data_may_have_any_name(name: str) -> None:
    data = {"self": 1, "message": 2, "wire_name": 3, "name": 4}
    error = from_wire({"code": 1, "name": name, "message": "do this", "data": data})
    assert (error.wire_name, error.message, error.data) == (name, "do this", data)


@pytest.mark.parametrize("wire", ["text", 7, None, [], {"name": 3}, {"data": "no map"}, {"data": {"message": "x"}}])
def test_whatever_another_server_sends_as_an_error_is_one(wire: object) -> None:
    assert isinstance(from_wire(wire), RoostError)
