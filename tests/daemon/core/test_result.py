"""The size of a result."""

import pytest

from roost.daemon.core.result import MAX_RESULT, check_size
from roost.protocol.errors import ResultTooLarge
from roost.protocol.methods import METHODS


@pytest.mark.parametrize(
    ("method", "way"),
    [("session.state", "session.checkpoint"), ("item.read", "a smaller `limit`"), ("session.list", "`next`")],
)
def test_one_that_is_too_large_is_refused_with_a_way_to_get_less(method: str, way: str) -> None:
    check_size(method, MAX_RESULT)
    with pytest.raises(ResultTooLarge) as caught:
        check_size(method, MAX_RESULT + 1)
    assert caught.value.data == {"method": method, "bytes": MAX_RESULT + 1, "limit": MAX_RESULT}
    assert way in caught.value.message


def test_the_way_to_get_less_is_there() -> None:
    """Only a verb that takes a `limit` says to ask for a smaller one, and each that takes one says so."""
    limited = {method for method, row in METHODS.items() if "limit" in row.params.model_fields}
    assert limited == {method for method, row in METHODS.items() if "smaller `limit`" in row.paging}
    following = {method for method, row in METHODS.items() if "`next`" in row.paging}
    assert all("next" in METHODS[method].result.model_fields for method in following) and following
