"""The results that a handler may return, and their bytes."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from ...protocol import rpc
from ...protocol.model import Noun
from ..core.result import check_size

PAGE_BYTES = 900_000
"""Bytes of the records on one page: a result of them stays under MAX_RESULT."""


class Packed(NamedTuple):
    """A result that is MessagePack already."""

    data: bytes


class Then(NamedTuple):
    """A result, and a step that begins only after the result was sent."""

    result: "Noun | Packed"
    follow_up: Callable[[], object]


Result = Noun | Packed | Then


def packed_list(name: str, members: Sequence[bytes], **rest: Any) -> Packed:
    """The map ``{name: members, **rest}`` around members that are packed already; ``rest`` has at most 14 fields."""
    head = bytes([0x81 + len(rest)]) + rpc.pack(name) + rpc.array_header(len(members))
    return Packed(b"".join([head, *members, rpc.pack(rest)[1:]]))


def fitting(members: Sequence[bytes], room: int) -> int:
    """How many of the first members have at most ``room`` bytes together."""
    for count, size in enumerate(accumulate(map(len, members))):
        if size > room:
            return count
    return len(members)


def encode(msgid: int, method: str, result: Noun | Packed) -> bytes:
    """The response.

    Raises:
        ResultTooLarge: it is over 1 MiB; names the way to get less.
    """
    data = result.data if isinstance(result, Packed) else rpc.pack(result.to_wire())
    check_size(method, len(data))
    return rpc.result_head(msgid) + data
