"""Tasks that wait for a change go on when it comes, and leave nothing behind when they give up."""

import trio
from trio.testing import wait_all_tasks_blocked

from roost.daemon.waiting.awaited import Change, Changes


async def test_all_that_wait_go_on_and_the_next_wait_is_for_the_next_change(nursery: trio.Nursery) -> None:
    change, woken = Change(), list[int]()

    async def wait(n: int) -> None:
        await change.wait()
        woken.append(n)

    change.tell()
    for n in range(3):
        nursery.start_soon(wait, n)
    await wait_all_tasks_blocked()
    assert woken == []
    change.tell()
    await wait_all_tasks_blocked()
    assert sorted(woken) == [0, 1, 2]


async def test_a_change_wakes_those_that_wait_for_its_key_and_nobody_else(nursery: trio.Nursery) -> None:
    changes, woken = Changes[str](), list[str]()

    async def wait(key: str) -> None:
        with changes.next(key) as changed:
            await changed.wait()
        woken.append(key)

    for key in ("a", "a", "b"):
        nursery.start_soon(wait, key)
    await wait_all_tasks_blocked()
    changes.tell("a")
    changes.tell("c")
    await wait_all_tasks_blocked()
    assert woken == ["a", "a"]
    changes.tell_all()
    await wait_all_tasks_blocked()
    assert woken == ["a", "a", "b"]


async def test_a_change_while_a_task_still_looks_is_not_missed() -> None:
    changes = Changes[str]()
    with changes.next("a") as changed:
        await trio.lowlevel.checkpoint()
        changes.tell("a")
        with trio.fail_after(5):
            await changed.wait()


async def test_a_task_that_gives_up_leaves_nothing_behind() -> None:
    changes = Changes[str]()
    with trio.move_on_after(0), changes.next("a") as changed:
        await changed.wait()
    assert vars(changes)["_waiting"] == {}
