"""A bug in one task ends that one; cancellation passes the guard."""

import logging

import pytest
import trio
import trio.testing

from roost.daemon.waiting.guard import guarded


async def broken(text: str) -> None:
    raise LookupError(text)


async def broken_when_cancelled() -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise LookupError("clean-up")


async def test_success_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert await guarded("session s-1", trio.lowlevel.checkpoint) is None
    assert caplog.records == []


async def test_error_is_logged_with_its_traceback_and_returned(caplog: pytest.LogCaptureFixture) -> None:
    error = await guarded("session s-1", broken, "oh")
    assert isinstance(error, LookupError)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR and "session s-1" in record.message
    assert "in broken" in caplog.text


async def test_group_of_errors_is_caught() -> None:
    async def nursery() -> None:
        async with trio.open_nursery() as inner:
            inner.start_soon(broken, "one")
            inner.start_soon(broken, "two")

    error = await guarded("connection", nursery)
    assert type(error) is ExceptionGroup
    assert "2 sub-exceptions" in f"{error}"


async def test_cancellation_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await guarded("sweeper", trio.sleep_forever)
    assert scope.cancelled_caught and caplog.records == []


async def test_cancellation_goes_on_out_of_a_group_and_its_errors_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def mixed() -> None:
        async with trio.open_nursery() as inner:
            inner.start_soon(trio.sleep_forever)
            inner.start_soon(broken_when_cancelled)

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as outer:
            outer.start_soon(guarded, "sweeper", mixed)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught
    assert "sweeper" in caplog.text and "clean-up" in caplog.text


async def test_error_inside_a_cancelled_scope_is_caught_and_the_scope_stays_cancelled() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        assert isinstance(await guarded("session", broken, "oh"), LookupError)
        await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught


@pytest.mark.parametrize("errors", [[], [LookupError("oh")]])
async def test_keyboard_interrupt_goes_on_out_of_a_group(
    errors: list[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    async def mixed() -> None:
        raise BaseExceptionGroup("both", [KeyboardInterrupt(), *errors])

    with pytest.raises(BaseExceptionGroup) as caught:
        await guarded("session", mixed)
    assert [type(one) for one in caught.value.exceptions] == [KeyboardInterrupt]
    assert len(caplog.records) == len(errors)
