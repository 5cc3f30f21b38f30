"""A cgroup for each owner, a leaf for each child: nothing leaves them, and all of one ends at once."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.cgroups import scratch
from helpers.children import until
from helpers.daemon import wait_until
from helpers.fuse import hanging
from roost.daemon.process import cgroup as cgroup_module
from roost.daemon.process import processes as processes_module
from roost.daemon.process.cgroup import Cgroup, Cgroups, Found, find, lowered
from roost.daemon.process.launcher import launcher
from roost.daemon.process.proc import Tree
from roost.daemon.process.processes import Processes
from roost.daemon.process.spawn import Child
from roost.protocol.errors import LimitUnenforceable, ProcessesLeft
from roost.protocol.model import Limits, new_id

SESSION = "s-abcdefgh234567ab"
TREE = Tree(SESSION, "c-abcdefgh234567ab")
NESTS = """
import os, subprocess, sys
own = sys.argv[1]
os.mkdir(own + "/nested")
escaped = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "start_new_session": True, "env": {}}
for wish in ("trap '' TERM", f"echo $$ >{own}/nested/cgroup.procs"):
    subprocess.Popen(["/bin/sh", "-c", wish + "; sleep 600 & echo; exec sleep 600"], **escaped)
print("there", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def cgroups() -> Iterator[Cgroups]:
    with scratch() as folder:
        found = find(str(folder))
        assert found.cgroups, found.message
        yield found.cgroups


def alone() -> set[str]:
    """The leaves of an owner that has one child, or is about to."""
    return {TREE.leaf}


def start(cgroup: Cgroup) -> subprocess.Popen[str]:
    """A child that makes a cgroup of its own, and leaves processes in both that nothing but a cgroup finds."""
    command = launcher([sys.executable, "-c", NESTS, str(cgroup.folder)], cgroup.procs_path, None)
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout and child.stdout.readline() == "there\n"
    inner = Cgroup(cgroup.folder / "nested")
    wait_until(lambda: (len(cgroup.pids()), len(inner.pids())) == (5, 2), "all of them are there")
    return child


def reap(child: subprocess.Popen[str]) -> int:
    with child:
        return child.wait(10)


def test_it_ends_with_all_that_left_session_group_and_environment(cgroups: Cgroups) -> None:
    cgroup = cgroups.make(TREE, Limits(), alone)
    child = start(cgroup)
    assert child.pid in cgroup.pids() and len(cgroup.pids()) == 5
    assert not cgroup.remove()
    assert cgroup.end(10)
    assert reap(child) == -9
    assert not cgroup.folder.exists() and cgroup.pids() == []


def test_what_is_stopped_or_frozen_ends_too(cgroups: Cgroups) -> None:
    cgroup = cgroups.make(TREE, Limits(), alone)
    child = start(cgroup)
    os.kill(child.pid, 19)
    (cgroup.folder / "cgroup.freeze").write_text("1")
    assert cgroup.end(10)
    assert reap(child) == -9


def test_waiting_for_the_end_is_bounded_and_hears_it(cgroups: Cgroups) -> None:
    cgroup = cgroups.make(TREE, Limits(), alone)
    assert cgroup.wait_empty(0)
    child = start(cgroup)
    assert not cgroup.wait_empty(0.01)
    cgroup.kill()
    assert cgroup.wait_empty(10) and cgroup.remove()
    assert cgroup.wait_empty(10)  # it is gone
    cgroup.kill()  # which is no error
    assert cgroup.remove()
    reap(child)


def test_a_predecessors_is_made_anew(cgroups: Cgroups) -> None:
    cgroup = cgroups.make(TREE, Limits(), alone)
    child = start(cgroup)
    direct = entered(Cgroup(cgroup.folder.parent), "sleep", "600")  # as an older roostd had its only child there
    wait_until(lambda: direct.pid in Cgroup(cgroup.folder.parent).direct(), "it is there")
    assert [left.folder.name for left in cgroups.leftovers()] == [SESSION]
    assert cgroups.make(Tree(SESSION, "c-b"), Limits(), lambda: {"c-b"}).pids() == []
    assert (reap(child), direct.wait(10)) == (-9, -9)
    assert not cgroup.folder.exists()


async def test_nothing_starts_beside_what_does_not_end(
    cgroups: Cgroups, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the session has limits or none. What has ended is told, and no other."""
    for module in (cgroup_module, processes_module):
        monkeypatch.setattr(module, "PREDECESSOR", 0.2)
    processes = Processes("/no/socket", cgroups=Found(cgroups, "for this test"))

    async def ours(ids: list[str]) -> set[str]:
        return set(ids)

    async def child(limits: Limits) -> Child:
        return await processes.spawn(SESSION, ["sleep", "600"], cwd="/", env=os.environ, limits=limits)

    cgroup = cgroups.make(TREE, Limits(), alone)
    with hanging(tmp_path / "mount") as dead:
        dead.deaf()
        hung, dies = entered(cgroup, "cat", f"{dead.path}/data"), entered(cgroup, "sleep", "600")
        await until(lambda: dead.asked() == 1 and dies.pid in cgroup.pids())
        assert await processes.end_leftovers(ours) == [dies.pid]
        for limits in (Limits(), Limits(nofile=100), Limits(cpu_max=1)):
            with pytest.raises(ProcessesLeft, match="look at what hangs") as caught:
                await child(limits)
            assert caught.value.data["pids"] == [hung.pid]
        dead.well()
        assert (hung.wait(10), dies.wait(10)) == (-9, -9)
        async with await child(Limits()) as after:
            await until(lambda: Cgroup(cgroup.folder.parent).pids() == [after.pid])


def entered(cgroup: Cgroup, *command: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(launcher(command, cgroup.procs_path, None))


def test_only_sessions_are_left_by_a_predecessor(cgroups: Cgroups) -> None:
    (cgroups.root / "daemon").mkdir()
    (cgroups.root / "s-other").mkdir()
    assert cgroups.leftovers() == []


def test_one_that_cannot_be_made_says_why(cgroups: Cgroups) -> None:
    (cgroups.root / "cgroup.max.descendants").write_text("0")
    with pytest.raises(LimitUnenforceable, match=f"the cgroup {cgroups.root}/{SESSION} cannot be used: .*; look at"):
        cgroups.make(TREE, Limits(), alone)


def test_limits_without_their_controllers_are_left_out(cgroups: Cgroups) -> None:
    if len(cgroups.enforceable) > 1:
        pytest.skip("this host has controllers; tests/end_to_end/test_limits.py uses them")
    cgroup = cgroups.make(TREE, Limits(memory_max=2**30, pids_max=5, cpu_max=1, nofile=5), alone)
    assert cgroup.oom_kills() == 0


def test_what_is_written_is_what_the_kernel_takes(tmp_path: Path) -> None:
    # Files in place of the kernel's: what this host's kernel has no controllers for is written all the same.
    (tmp_path / "cgroup.subtree_control").write_text("memory pids cpu")
    cgroups = Cgroups(tmp_path)
    assert cgroups.enforceable == set(Limits.model_fields)
    leaf = cgroups.make(TREE, Limits(memory_max=2**30, pids_max=2**40, cpu_max=1.5), alone).folder
    made = leaf.parent
    assert (made / "memory.max").read_text() == str(2**30)
    assert (made / "pids.max").read_text() == "4194304"
    assert (made / "cpu.max").read_text() == "150000 100000"
    assert (made / "cgroup.subtree_control").read_text() == "+memory"
    least = cgroups.make(Tree("s-bbbbbbbbbbbbbbbb", "c-a"), Limits(cpu_max=0.0001), alone).folder.parent
    assert {path.name for path in least.iterdir()} == {"cpu.max", "cgroup.subtree_control", "c-a"}
    assert (least / "cpu.max").read_text() == "1000 100000"
    (made / "memory.events").write_text("low 0\noom 2\noom_kill 3\n")
    assert Cgroup(leaf).oom_kills() == 3, "where the leaf has no count"
    (leaf / "memory.events").write_text("oom_kill 1\n")
    assert Cgroup(leaf).oom_kills() == 1


def test_the_limits_of_an_owner_are_those_of_its_last_start(tmp_path: Path) -> None:
    (tmp_path / "cgroup.subtree_control").write_text("pids")
    cgroups = Cgroups(tmp_path)
    for limits, written in ((Limits(pids_max=5), "5"), (Limits(pids_max=7), "7"), (Limits(), "max")):
        leaf = new_id("c")
        cgroups.make(Tree(SESSION, leaf), limits, lambda: {"c-first", "c-second"})
        assert (tmp_path / SESSION / "pids.max").read_text() == written


def test_nobody_can_have_more_descriptors_than_the_daemon() -> None:
    assert (lowered(None), lowered(16), lowered(2**40)) == (None, 16, lowered(2**41))
