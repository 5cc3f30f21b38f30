"""How long a client is ready to wait."""

from collections.abc import Awaitable
from typing import TypeVar

import trio

from ...protocol.errors import TimedOut

T = TypeVar("T")


async def in_time(limit: int | None, what: str, wait: Awaitable[T]) -> T:
    """What ``wait`` gives, within ``limit`` milliseconds (None: however long it takes).

    Raises:
        TimedOut: names ``what``; only the waiting has ended.
    """
    with trio.move_on_after(float("inf") if limit is None else limit / 1000):
        return await wait
    raise TimedOut(f"{what} took longer than {limit} ms; it goes on: wait again or cancel it", timeout=limit)
