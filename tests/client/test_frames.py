"""Requests within the daemon's limits: what it would read goes out, the rest is refused here."""

from typing import Any

import pytest

from roost.client import frames
from roost.protocol import rpc
from roost.protocol.errors import InvalidParams


def nested(levels: int, *, of_lists: bool) -> dict[str, Any]:
    value: Any = 1
    for _ in range(levels - 1):
        value = [value] if of_lists else {"a": value}
    return {"a": value}


@pytest.mark.parametrize("of_lists", [False, True])
def test_params_go_out_as_deep_as_the_daemon_reads_them(of_lists: bool) -> None:
    limits = rpc.Limits()
    frame = frames.request(
        1, "x", deepest := nested(30, of_lists=of_lists), {"frame": limits.frame, "nesting": limits.nesting}
    )
    assert list(rpc.Connection(limits).receive(frame)) == [rpc.Request(1, "x", deepest)]
    too_deep = nested(31, of_lists=of_lists)
    [read] = rpc.Connection(limits).receive(rpc.request(1, "x", too_deep))
    assert isinstance(read, rpc.Violation)
    with pytest.raises(InvalidParams, match="x: nested deeper than 32; send flatter data"):
        frames.request(1, "x", too_deep, {"frame": limits.frame, "nesting": limits.nesting})
