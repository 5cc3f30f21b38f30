"""Errands: in their order, one at a time, bounded, and no task while there are none."""

import pytest
import trio
import trio.testing

from roost.daemon.waiting.errands import Errands


def tasks(nursery: trio.Nursery) -> int:
    return len(nursery.child_tasks)


async def under_way(nursery: trio.Nursery, go: trio.Event) -> tuple[Errands[int], list[int]]:
    """Room for one; the first, 1, waits until ``go``. And what was done."""
    done: list[int] = []

    async def do(errand: int) -> None:
        await go.wait()
        done.append(errand)

    errands = Errands(do, 1)
    errands.begin(nursery.start_soon)
    await errands.put(1)
    await trio.testing.wait_all_tasks_blocked()
    return errands, done


async def test_they_are_done_in_their_order_and_then_no_task_is_left(nursery: trio.Nursery) -> None:
    done: list[int] = []

    async def do(errand: int) -> None:
        await trio.lowlevel.checkpoint()
        done.append(errand)

    errands = Errands(do, 100)
    errands.begin(nursery.start_soon)
    assert tasks(nursery) == 0
    for errand in range(20):
        await errands.put(errand)
    assert tasks(nursery) == 1
    await trio.testing.wait_all_tasks_blocked()
    assert (done, tasks(nursery)) == (list(range(20)), 0)
    await errands.put(20)
    await trio.testing.wait_all_tasks_blocked()
    assert (done[-1], tasks(nursery)) == (20, 0)


async def test_what_was_put_before_it_begins_is_done_then(nursery: trio.Nursery) -> None:
    done: list[int] = []

    async def do(errand: int) -> None:
        done.append(errand)

    errands = Errands(do, 2)
    await errands.put(1)
    await errands.put(2)
    with trio.move_on_after(0.01) as waiting:
        await errands.put(3)
    assert waiting.cancelled_caught  # there is no room
    errands.begin(nursery.start_soon)
    await errands.put(4)
    await trio.testing.wait_all_tasks_blocked()
    assert done == [1, 2, 4]


async def test_who_leaves_while_its_errand_waits_for_room_takes_it_along(nursery: trio.Nursery) -> None:
    errands, done = await under_way(nursery, go := trio.Event())
    await errands.put(2)
    async with trio.open_nursery() as leaving:
        leaving.start_soon(errands.put, 3)
        await trio.testing.wait_all_tasks_blocked()
        leaving.cancel_scope.cancel()
    go.set()
    await trio.testing.wait_all_tasks_blocked()
    assert done == [1, 2]


async def test_finished_it_begins_nothing_more_and_says_at_its_close_what_is_left(nursery: trio.Nursery) -> None:
    errands, done = await under_way(nursery, go := trio.Event())
    errands.finish()
    await errands.put(2)
    nursery.start_soon(errands.put, 3)  # waits for room
    go.set()
    await trio.testing.wait_all_tasks_blocked()
    assert errands.close() == [2, 3] and errands.close() == []
    await trio.testing.wait_all_tasks_blocked()
    assert (done, tasks(nursery)) == ([1], 0)
    with pytest.raises(trio.BrokenResourceError):
        await errands.put(4)
