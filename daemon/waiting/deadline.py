"""A wait, or a thread, within a time; then something else."""

from collections.abc import Awaitable, Callable
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


async def in_thread(
    job: Callable[[], T],
    *,
    within: float = float("inf"),
    otherwise: Callable[[], T] | None = None,
    limiter: trio.CapacityLimiter | None = None,
) -> T:
    """The result of ``job()`` in a thread; after ``within`` seconds the thread is abandoned and ``otherwise()`` is it.

    Cancelled, it comes back at once as well, and the thread is abandoned.

    Args:
        within: left out only where nothing but the kernel's memory is asked, or the caller has a deadline.
        otherwise: may raise instead. limiter: the places for such threads; the seconds for one count as well.
    """
    with trio.move_on_after(within):
        return await trio.to_thread.run_sync(job, limiter=limiter, abandon_on_cancel=True)
    assert otherwise is not None, "a deadline says what follows it"
    return otherwise()
