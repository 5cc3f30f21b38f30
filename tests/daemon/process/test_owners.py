"""Several children of one owner: each ends alone with all that it started, and the owner's end ends all."""

import subprocess
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from helpers.cgroups import scratch
from helpers.children import BROOD, ENV, SOCKET, WAITS, alive, line, python, spawn, until
from roost.daemon.process import clearing, look
from roost.daemon.process import spawn as module
from roost.daemon.process.cgroup import Cgroups, Found
from roost.daemon.process.processes import NO_CGROUPS, Processes
from roost.daemon.process.spawn import Child
from roost.daemon.process.usage import Usage
from roost.protocol.errors import ProcessesLeft, TimedOut

OWNER = "s-abcdefgh234567ab"


@pytest.fixture(params=["cgroup", "no cgroup"])
def processes(request: pytest.FixtureRequest) -> Iterator[Processes]:
    if request.param == "no cgroup":
        yield Processes(SOCKET, cgroups=NO_CGROUPS)
    else:
        with scratch() as folder:
            yield Processes(SOCKET, cgroups=Found(Cgroups(folder), "for this test"))


async def brood(processes: Processes) -> tuple[Child, list[int]]:
    """A child, and the pids of all of its tree."""
    child = await spawn(python(BROOD + "input()"), processes=processes, session=OWNER)
    return child, [child.pid, *map(int, (await line(child)).split())]


@asynccontextmanager
async def two(processes: Processes) -> AsyncGenerator[tuple[tuple[Child, list[int]], tuple[Child, list[int]]]]:
    one, other = await brood(processes), await brood(processes)
    try:
        yield one, other
    finally:
        for child, _ in (one, other):
            await child.aclose()
        assert not processes.children
        if cgroups := processes.cgroups.cgroups:
            assert not (cgroups.root / OWNER).exists()


def living(pids: list[int]) -> list[int]:
    return list(filter(alive, pids))


async def test_the_end_of_one_child_leaves_the_other_alone(processes: Processes) -> None:
    async with two(processes) as ((child, tree), (other, others)):
        await child.end(0)
        assert living(tree) == [] and living(others) == others
        assert await other.end(0) in (-15, -9)
        assert living(others) == []


async def test_the_end_of_an_owner_ends_all(processes: Processes) -> None:
    async with two(processes) as ((child, tree), (other, others)):
        await processes.end_owner(OWNER)
        assert living(tree) == living(others) == []
        assert (await child.wait(), await other.wait()) == (-9, -9)


async def test_an_owner_without_children_has_nothing_left() -> None:
    """Neither what bears its mark alone, as after a start with a part of the environment, nor an unknown child's."""
    processes = Processes(SOCKET)
    marks = {"ROOST_SESSION": OWNER}, {"ROOST_CHILD": f"{OWNER}/c-unknown"}
    async with two(processes) as ((child, _), (other, others)):
        strange = [subprocess.Popen(["sleep", "600"], env={**ENV, **mark, "ROOST_DAEMON": SOCKET}) for mark in marks]  # noqa: ASYNC220
        try:
            await child.end(0)
            assert [process.poll() for process in strange] == [None, None] and living(others) == others
            await other.end(0)
            assert [process.wait(10) for process in strange] == [-9, -9]
        finally:
            for process in strange:
                process.kill()
                process.wait()


async def test_children_that_end_together_leave_nothing_of_their_owner(processes: Processes) -> None:
    async with two(processes) as ((child, tree), (other, others)):
        env = {**ENV, "ROOST_SESSION": OWNER, "ROOST_DAEMON": SOCKET}
        with subprocess.Popen(["sleep", "600"], env=env) as strange:  # noqa: ASYNC220
            async with trio.open_nursery() as enders:
                enders.start_soon(child.end, 0)
                enders.start_soon(other.end, 0)
            assert strange.wait(10) == -9
        assert living(tree) == living(others) == []


async def test_a_child_that_starts_while_the_others_end_is_spared(processes: Processes) -> None:
    """Its owner has no other child meanwhile, so that all of the owner is cleared but this one."""
    before = await spawn(python(WAITS), processes=processes, session=OWNER)
    for _ in range(10):
        after: list[Child] = []

        async def start(after: list[Child] = after) -> None:
            after.append(await spawn(python(WAITS), processes=processes, session=OWNER))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(start)
            nursery.start_soon(before.aclose)
        assert await line(after[0]) == "ready"
        await processes.look()
        assert after[0].returncode is None and list(processes.children) == [after[0].pid]
        (before,) = after
    await before.aclose()


async def test_children_that_start_together_share_their_owners_cgroup() -> None:
    with scratch() as folder:
        processes, children = Processes(SOCKET, cgroups=Found(Cgroups(folder), "for this test")), list[Child]()

        async def start() -> None:
            children.append(await spawn(python(WAITS), processes=processes, session=OWNER))

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(start)
        for child in children:
            assert await line(child) == "ready"
        leaves = {path.name for path in (folder / OWNER).iterdir() if path.is_dir()}
        assert leaves == {child.root.leaf for child in children} and len(leaves) == 8
        async with trio.open_nursery() as nursery:
            for child in children:
                nursery.start_soon(child.aclose)
        assert not (folder / OWNER).exists()


async def test_the_end_of_an_owner_waits_for_a_start_that_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    started, go, begun = module._started, threading.Event(), threading.Event()  # pyright: ignore[reportPrivateUsage]

    def slowly(*args: Any) -> Any:
        begun.set()
        go.wait()
        return started(*args)

    monkeypatch.setattr(module, "_started", slowly)
    processes, children = Processes(SOCKET), list[Child]()

    async def start() -> None:
        children.append(await spawn(["sleep", "600"], processes=processes, session=OWNER))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start)
        await until(begun.is_set)
        with monkeypatch.context() as patch:
            patch.setattr(clearing, "CLEARING", 0.1)
            with pytest.raises(TimedOut, match=f"a start of {OWNER} was not over within 0.1 s"):
                await processes.end_owner(OWNER)
        nursery.start_soon(processes.end_owner, OWNER)
        go.set()
    assert not alive(children[0].pid)
    await children[0].aclose()


async def test_the_end_of_an_owner_without_children_costs_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    processes = Processes(SOCKET)
    async with await spawn(python(WAITS), processes=processes, session=OWNER) as child:
        await line(child)
    monkeypatch.setattr(processes, "_clearing", None)
    await processes.end_owner(OWNER)


def spare(doomed: object, there: object) -> None:
    """In place of the kill."""


async def test_what_does_not_end_with_its_owner_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It hangs in the kernel; here the kill is left out."""
    processes = Processes(SOCKET)
    async with two(processes) as ((_, tree), (_, others)):
        with monkeypatch.context() as patch:
            patch.setattr(clearing, "CLEARING", 0.05)
            patch.setattr(look, "kill", spare)
            with pytest.raises(ProcessesLeft) as caught:
                await processes.end_owner(OWNER)
        assert caught.value.data == {"session": OWNER, "pids": sorted(tree + others)}


async def test_each_child_is_measured_with_its_own_tree() -> None:
    processes = Processes(SOCKET)
    async with two(processes) as ((child, tree), (other, others)):
        _, *told = await Usage(processes).measured()
    assert [(one.session, one.pid, set(one.pids)) for one in told] == [
        (OWNER, child.pid, set(tree)),
        (OWNER, other.pid, set(others)),
    ]
