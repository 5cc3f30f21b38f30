"""What is told of processes: real ones, their trees, and one of which /proc does not tell."""

import ctypes
import os
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
import trio

from helpers.children import ENV, line, python
from roost.daemon.process import usage
from roost.daemon.process.processes import Processes
from roost.daemon.process.reaper import PR_SET_CHILD_SUBREAPER
from roost.daemon.process.usage import Usage
from roost.protocol.errors import TimedOut
from roost.protocol.model import ProcessStats

TREE = """
import os, subprocess, sys
kept = [open(os.devnull) for _ in range(30)]
room = b"x" * 30_000_000
below = [subprocess.Popen(["sleep", "600"], start_new_session=apart) for apart in (False, True)]
while sum(os.times()[:2]) < 0.1: pass
print("ready", flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def processes(tmp_path: Path, **sessions: str) -> AsyncGenerator[Processes]:
    """A child that runs this code, for each session."""
    made = Processes(str(tmp_path / "roost.sock"))
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        children = [
            await made.spawn(
                f"s-{session}",
                python(code),
                cwd="/",
                env=ENV,
            )
            for session, code in sessions.items()
        ]
        for child in children:
            await line(child)
        yield made
        for child in children:
            await child.aclose()
        nursery.cancel_scope.cancel()
    # Else the orphans of all later tests would come to the one process that runs them, and stay.
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == 0


def of(told: list[ProcessStats], session: str | None) -> ProcessStats:
    [found] = [one for one in told if one.session == session]
    return found


async def test_of_each_child_all_that_it_started_is_told_and_first_of_all_the_daemon(tmp_path: Path) -> None:
    before = time.monotonic()
    async with processes(tmp_path, one=TREE, two="print(flush=True); input()") as made:
        told = await Usage(made).measured()
        oldest = (time.monotonic() - before) * 1000 + 20  # the kernel counts starts in hundredths of a second
        assert [one.session for one in told] == [None, "s-one", "s-two"]
        pids = {root.owner: pid for pid, root in made.children.items()}
        tree, single, itself = of(told, "s-one"), of(told, "s-two"), told[0]
        assert tree.pid == tree.pids[0] == pids["s-one"] and tree.processes == len(tree.pids) == 3
        assert set(tree.pids[1:]) == {child.pid for child in psutil.Process(tree.pid).children()}
        assert tree.threads == 3 and 30 + 3 <= tree.descriptors < 60
        assert 30_000_000 <= tree.memory < 200_000_000 and tree.cpu >= 100
        assert 50 <= tree.age <= oldest and 0 <= single.age <= oldest, "one of them has worked for 100 ms"
        assert (single.pids, single.processes) == ([pids["s-two"]], 1)
        assert (itself.pid, itself.processes) == (os.getpid(), 1)
        assert itself.threads >= threading.active_count() - 1 and itself.memory > 10_000_000


async def test_where_no_session_can_be_the_daemon_is_told_alone() -> None:
    assert [one.pid for one in await Usage(None).measured()] == [os.getpid()]


async def test_what_has_ended_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the moment between the look at what there is and the reading of what it uses."""
    async with processes(tmp_path, one="print(flush=True); input()", two=TREE) as made:
        told, read = Usage(made), usage.facts
        [doomed] = [pid for pid, root in made.children.items() if root.owner == "s-one"]

        def late(pid: int) -> usage.Facts | None:
            if pid == doomed:
                os.kill(pid, 9)
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            return read(pid)

        assert len(await told.measured()) == 3
        monkeypatch.setattr(usage, "facts", late)
        zombie = of(await told.measured(), "s-one")
        assert zombie.memory == 0 and zombie.pids == [doomed], "a zombie until its session has seen it end"
        monkeypatch.undo()
        assert [one.session for one in await told.measured()] == [None, "s-two"]


async def test_one_that_hangs_hangs_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread is left behind, the others are told, and the next who ask are not delayed by that one again."""
    monkeypatch.setattr(usage, "DEADLINE", 1.0)
    simple = "print(flush=True); input()"
    async with processes(tmp_path, one=simple, two=simple, three=simple) as made:
        told, release, read = Usage(made), threading.Event(), usage.facts
        [stuck] = [pid for pid, root in made.children.items() if root.owner == "s-two"]
        waiting: list[int] = []

        def hanging(pid: int) -> usage.Facts | None:
            if pid == stuck:
                waiting.append(pid)
                release.wait(30)
            return read(pid)

        monkeypatch.setattr(usage, "facts", hanging)
        try:
            with trio.fail_after(20):
                for _ in range(3):
                    assert [one.session for one in await told.measured()] == [None, "s-one", "s-three"]
            assert waiting == [stuck], "one thread, whoever asks how often"
        finally:
            release.set()
        monkeypatch.setattr(usage, "facts", read)

        with trio.fail_after(20):
            while len(await told.measured()) < 4:
                pass


async def test_where_nothing_can_be_read_it_still_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "DEADLINE", 0.05)
    release = threading.Event()

    def hanging(pid: int) -> None:
        release.wait(30)

    monkeypatch.setattr(usage, "facts", hanging)
    simple = "print(flush=True); input()"
    try:
        async with processes(tmp_path, one=simple, two=simple, three=simple) as made:
            with trio.fail_after(20):
                assert await Usage(made).measured() == []
    finally:
        release.set()


def test_what_may_not_be_read_of_somebody_else_counts_as_nothing() -> None:
    me = os.geteuid()
    os.seteuid(me or 65534)
    try:
        told = usage.facts(1)
    finally:
        os.seteuid(me)
    assert told is not None and told.descriptors == 0 and told.memory > 0
    assert usage.facts(2**22 + 1) is None


async def test_those_who_ask_at_once_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nobody is told what was read before he asked."""
    readings: list[int] = []
    read = usage.facts

    def counted(pid: int) -> usage.Facts | None:
        readings.append(pid)
        return read(pid)

    monkeypatch.setattr(usage, "facts", counted)
    told = Usage(None)
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(told.measured)
    assert len(readings) <= 2
    await told.measured()
    assert len(readings) <= 3


async def test_where_the_look_at_all_processes_fails_the_children_alone_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent() -> None:
        raise TimedOut("/proc did not answer; look at what hangs")

    async with processes(tmp_path, one=TREE) as made:
        with monkeypatch.context() as patch:
            patch.setattr(made, "look", silent)
            tree = of(await Usage(made).measured(), "s-one")
        assert (tree.processes, tree.threads) == (1, 1) and tree.memory >= 30_000_000


async def test_only_64_pids_of_a_tree_are_listed(tmp_path: Path) -> None:
    many = "import subprocess\nx = [subprocess.Popen(['sleep', '600']) for _ in range(70)]\nprint(flush=True); input()"
    async with processes(tmp_path, one=many) as made:
        tree = of(await Usage(made).measured(), "s-one")
        assert (tree.processes, len(tree.pids), tree.pids[0]) == (71, 64, tree.pid)
