"""A thread that does not answer is abandoned in time, and something else is said or done."""

import threading

import pytest
import trio

from roost.daemon.waiting.deadline import in_thread, in_time
from roost.protocol.errors import TimedOut


def late() -> int:
    raise TimedOut("the disk did not answer; look at it")


async def test_a_thread_gives_its_result_and_its_error() -> None:
    assert await in_thread(lambda: 7, within=30, otherwise=late) == 7
    with pytest.raises(FileNotFoundError):
        await in_thread(lambda: open("/no/such/file").fileno(), within=30, otherwise=late)


async def test_a_thread_that_hangs_is_abandoned_and_the_rest_is_the_callers() -> None:
    answer = threading.Event()

    def hang() -> int:
        answer.wait(30)
        return 1

    try:
        assert await in_thread(hang, within=0.01, otherwise=lambda: 3) == 3
        with pytest.raises(TimedOut):
            await in_thread(hang, within=0.01, otherwise=late)
    finally:
        answer.set()


async def test_the_seconds_for_a_place_among_the_threads_count() -> None:
    places = trio.CapacityLimiter(1)
    await places.acquire_on_behalf_of("somebody")
    assert await in_thread(lambda: 7, within=0.01, otherwise=lambda: 3, limiter=places) == 3


async def test_a_client_that_waits_too_long_hears_so() -> None:
    with pytest.raises(TimedOut, match="turn t-1 took longer than 1 ms"):
        await in_time(1, "turn t-1", trio.Event().wait())
