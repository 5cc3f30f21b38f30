"""The shapes of the worker protocol: what fits passes as it is, what does not is refused by name."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.protocol import worker
from roost.protocol.errors import InvalidParams, MethodNotFound

SAMPLES: dict[type, Any] = {str: "x", int: 3, float: 0.5, dict: {}, list: [], type(None): None, object: b"any"}


def full(shape: worker.Shape) -> dict[str, Any]:
    return {field.rstrip("?"): SAMPLES[types[0]] for field, types in shape.items()}


ALL = [(table, name) for table in (worker.TO_WORKER, worker.RESULTS, worker.TO_DAEMON) for name in table]


@pytest.mark.parametrize(("table", "name"), ALL, ids=lambda v: v if isinstance(v, str) else "")
def test_each_shape(table: dict[str, worker.Shape], name: str) -> None:
    shape = table[name]
    good = full(shape)
    assert worker.check(table, name, good) is good
    for field, types in shape.items():
        bare = field.rstrip("?")
        without = {k: v for k, v in good.items() if k != bare}
        if field == bare:
            with pytest.raises(InvalidParams, match=f"{bare} is missing"):
                worker.check(table, name, without)
        else:
            assert worker.check(table, name, without) is without
        if types is not worker.ANY:
            with pytest.raises(InvalidParams, match=f"{bare} must be") as caught:
                worker.check(table, name, {**good, bare: b"bytes"})
            assert caught.value.data["field"] == bare
    with pytest.raises(InvalidParams, match="unknown field 'more'"):
        worker.check(table, name, {**good, "more": 1})


def test_true_is_not_a_number() -> None:
    with pytest.raises(InvalidParams, match="fraction must be int or float"):
        worker.check(worker.TO_DAEMON, "progress", {"message": "m", "fraction": True})


def test_an_unknown_name() -> None:
    with pytest.raises(MethodNotFound, match=r"'approval\.ask'"):
        worker.check(worker.TO_DAEMON, "approval.ask", {})


@given(st.sampled_from(ALL), st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=3)) | st.integers())
def test_anything_at_all_fits_or_is_refused(which: Any, params: Any) -> None:
    table, name = which
    try:
        assert worker.check(table, name, params) is params
    except InvalidParams:
        pass


def test_each_request_has_an_answer() -> None:
    assert worker.TO_WORKER.keys() == worker.RESULTS.keys()
