"""A call that hangs costs one thread, however many ask for the same, and is taken up again when it answers."""

import threading

import pytest
import trio
import trio.testing

from helpers.children import until
from roost.daemon.waiting.patience import Patience


async def test_what_is_called_is_answered_and_its_error_raised() -> None:
    files = Patience()
    assert await files.call("a", lambda: 7, 10) == 7
    with pytest.raises(FileNotFoundError):
        await files.call("a", lambda: open("/no/such/file"), 10)


async def test_hundreds_that_ask_for_what_hangs_take_one_thread_and_others_are_served() -> None:
    """Else forty looks at a dead mount would be the end of all looks."""
    files, answer, called = Patience(threads=2), threading.Event(), 0

    def hang() -> None:
        nonlocal called
        called += 1
        answer.wait(30)

    async def ask() -> None:
        with pytest.raises(trio.TooSlowError):
            await files.call("dead", hang, 0.1)

    async with trio.open_nursery() as nursery:
        for _ in range(300):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert await files.call("alive", lambda: "well", 10) == "well"
    await ask()
    assert called == 1
    answer.set()
    with trio.fail_after(10):
        await files.call("dead", hang, 10)
    assert called == 2
    await until(lambda: not files._gates)  # pyright: ignore[reportPrivateUsage]


async def test_one_that_leaves_before_its_call_began_keeps_nobody_waiting() -> None:
    files, answer = Patience(threads=1), threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(files.call, "slow", lambda: answer.wait(30), 30)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.TooSlowError):  # it waits for the only thread
            await files.call("other", lambda: None, 0.05)
        answer.set()
    assert await files.call("other", lambda: 3, 10) == 3
    with trio.CancelScope() as scope:
        scope.cancel()
        await files.call("never", lambda: None, 10)
    await until(lambda: not files._gates)  # pyright: ignore[reportPrivateUsage]
