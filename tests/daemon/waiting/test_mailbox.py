"""A mailbox: what is asked is done in order, by one, to its end; whoever asks waits no longer than it likes."""

from functools import partial

import pytest
import trio
import trio.testing

from roost.daemon.waiting.mailbox import ROOM, Letter, Mailbox
from roost.protocol.errors import InternalError, SessionBusy, ShuttingDown, TimedOut, WorkerExited

GONE = WorkerExited("it has ended; start it again")


def box() -> Mailbox:
    return Mailbox("session s-1", lambda: GONE)


async def test_jobs_are_done_one_at_a_time_in_their_order(nursery: trio.Nursery) -> None:
    """Applied one at a time in mailbox order, and no update is lost."""
    mailbox = box()
    log: list[int] = []
    inside = 0

    async def job(n: int) -> int:
        nonlocal inside
        inside += 1
        assert inside == 1
        await trio.lowlevel.checkpoint()
        log.append(n)
        inside -= 1
        return n

    results: dict[int, int] = {}

    async def ask(n: int) -> None:
        results[n] = await mailbox.ask(lambda: job(n))

    async with trio.open_nursery() as asking:
        for n in range(50):
            asking.start_soon(ask, n)
            await trio.testing.wait_all_tasks_blocked()
        mailbox.begin(nursery.start_soon)
    assert log == list(range(50)) and results == {n: n for n in range(50)}


async def test_a_full_mailbox_makes_the_next_one_wait(nursery: trio.Nursery) -> None:
    """Neither dropped nor kept elsewhere."""
    mailbox = box()
    stuck = trio.Event()
    done: list[int] = []

    async def ask(n: int) -> None:
        async def job() -> None:
            await stuck.wait()
            done.append(n)

        await mailbox.ask(job)

    mailbox.begin(nursery.start_soon)
    async with trio.open_nursery() as asking:
        for n in range(ROOM + 2):  # one is under way, ROOM wait, and one more waits for room
            asking.start_soon(ask, n)
            await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(TimedOut):
            await mailbox.ask(stuck.wait, within=0.01)
        stuck.set()
    assert done == list(range(ROOM + 2))


async def test_who_leaves_ends_only_its_waiting(nursery: trio.Nursery) -> None:
    """A caller that went away before the reply is ignored, and the next is served."""
    mailbox = box()
    go, done = trio.Event(), trio.Event()

    async def job() -> None:
        await go.wait()
        done.set()

    mailbox.begin(nursery.start_soon)
    async with trio.open_nursery() as asking:
        asking.start_soon(mailbox.ask, job)
        await trio.testing.wait_all_tasks_blocked()
        asking.cancel_scope.cancel()
    go.set()
    with trio.fail_after(5):
        await done.wait()
        assert await mailbox.ask(lambda: _value(7)) == 7


async def _value(n: int) -> int:
    return n


async def test_errors_are_the_jobs_outcome(nursery: trio.Nursery, caplog: pytest.LogCaptureFixture) -> None:
    mailbox = box()
    mailbox.begin(nursery.start_soon)

    async def refused() -> None:
        raise SessionBusy("not now; try later")

    async def bug() -> None:
        raise ZeroDivisionError

    with pytest.raises(SessionBusy):
        await mailbox.ask(refused)
    with pytest.raises(InternalError, match="ZeroDivisionError"):
        await mailbox.ask(bug)
    assert "Traceback" in caplog.text
    assert await mailbox.ask(lambda: _value(1)) == 1


async def test_a_stuck_owner_is_a_timeout_and_what_was_not_begun_is_not_done(nursery: trio.Nursery) -> None:
    """A timeout error, not a hang."""
    mailbox = box()
    stuck = trio.Event()
    done: list[str] = []

    async def late() -> None:
        done.append("late")

    mailbox.begin(nursery.start_soon)
    nursery.start_soon(mailbox.ask, stuck.wait)
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(TimedOut, match=r"session s-1 did not answer within 0\.01 s, and .* was not begun and will not"):
        await mailbox.ask(late, within=0.01)
    stuck.set()
    assert await mailbox.ask(lambda: _value(1)) == 1
    assert done == []


async def test_what_was_begun_may_still_be_done_and_that_is_said(
    nursery: trio.Nursery, mock_clock: trio.testing.MockClock
) -> None:
    mailbox = box()
    stuck, done = trio.Event(), trio.Event()

    async def slow() -> None:
        await stuck.wait()
        done.set()

    async def ask() -> None:
        with pytest.raises(TimedOut, match="what was asked may still be done; ask again, or `roost stop --force` it"):
            await mailbox.ask(slow, within=1)

    mailbox.begin(nursery.start_soon)
    async with trio.open_nursery() as asking:
        asking.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(2)
    stuck.set()
    await trio.testing.wait_all_tasks_blocked()
    assert done.is_set()


@pytest.mark.parametrize("waiting", [0, 3, ROOM + 1])
async def test_what_goes_first_goes_before_all_that_waits(nursery: trio.Nursery, waiting: int) -> None:
    """Also when the mailbox is full; and in the end each was done once."""
    mailbox = box()
    go = trio.Event()
    done: list[int] = []

    async def job(n: int) -> None:
        await go.wait()
        done.append(n)

    mailbox.begin(nursery.start_soon)
    async with trio.open_nursery() as asking:
        for n in range(1 + waiting):
            asking.start_soon(mailbox.ask, partial(job, n))
            await trio.testing.wait_all_tasks_blocked()
        for n in (-1, -2):
            asking.start_soon(mailbox.ask_first, partial(job, n))
            await trio.testing.wait_all_tasks_blocked()
        go.set()
    assert done == [0, -1, -2, *range(1, 1 + waiting)]


async def test_behind_one_that_goes_first_and_finishes_nothing_is_begun() -> None:
    mailbox = box()
    go = trio.Event()
    done: list[str] = []

    async def last() -> None:
        mailbox.finish()
        done.append("last")

    async def behind() -> None:
        with pytest.raises(WorkerExited):
            await mailbox.ask(lambda: _value(1))
        done.append("refused")

    async with trio.open_nursery() as asking:
        async with trio.open_nursery() as owner:
            mailbox.begin(owner.start_soon)
            asking.start_soon(mailbox.ask, go.wait)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(2):
                asking.start_soon(behind)
            await trio.testing.wait_all_tasks_blocked()
            asking.start_soon(mailbox.ask_first, last)
            await trio.testing.wait_all_tasks_blocked()
            go.set()
        assert done == ["last"]
        mailbox.close()
    assert done == ["last", "refused", "refused"]
    with pytest.raises(WorkerExited):
        await mailbox.ask_first(lambda: _value(1))


async def test_what_is_asked_of_one_that_ended_is_refused() -> None:
    """A distinct error, for who waits and for who comes later; it ends by itself."""
    mailbox = box()
    errors: list[Exception] = []

    async def ask() -> None:
        with pytest.raises(WorkerExited) as caught:
            await mailbox.ask(lambda: _value(1))
        errors.append(caught.value)

    async with trio.open_nursery() as asking:
        for _ in range(ROOM + 20):
            asking.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        mailbox.close()
    await ask()
    assert errors == [GONE] * (ROOM + 21)


async def test_finish_does_what_is_under_way_to_its_end() -> None:
    mailbox = box()
    go = trio.Event()
    results: list[int] = []

    async def job() -> int:
        await go.wait()
        return 5

    async def ask() -> None:
        results.append(await mailbox.ask(job))

    async with trio.open_nursery() as nursery:
        mailbox.begin(nursery.start_soon)
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        mailbox.finish()
        go.set()
    assert results == [5]
    with trio.move_on_after(0.05) as waiting:
        await mailbox.ask(job)  # begins nothing any more
    assert waiting.cancelled_caught and results == [5]


async def test_a_job_that_is_cut_off_is_refused_when_its_owner_is_settled() -> None:
    """Not before: only then it is known why."""
    mailbox = box()
    errors: list[Exception] = []

    async def ask() -> None:
        with pytest.raises(WorkerExited) as caught:
            await mailbox.ask(trio.sleep_forever)
        errors.append(caught.value)

    async with trio.open_nursery() as asking:
        async with trio.open_nursery() as owner:
            mailbox.begin(owner.start_soon)
            asking.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            owner.cancel_scope.cancel()
        assert errors == []
        mailbox.close()
    assert errors == [GONE]


async def test_a_letter_keeps_its_first_outcome() -> None:
    letter = Letter(lambda: _value(3))
    assert not letter.settled
    await letter.open()
    letter.refuse(ShuttingDown("too late; it is done"))
    assert letter.settled and await letter.outcome() == 3
