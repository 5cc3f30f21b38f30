"""The size of a result."""

import pytest

from roost.daemon.core.result import MAX_RESULT, check_size
from roost.protocol.errors import ResultTooLarge


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
