"""Looks at processes that come, change and go while they are looked at."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trio
import trio.testing

from helpers.children import ENV, SOCKET, WAITS, alive, line, start, until
from roost.daemon.process import look, proc
from roost.daemon.process.leftovers import end_leftovers
from roost.daemon.process.look import Looker, Search
from roost.daemon.process.proc import Mark, Stat, Tree, Unread
from roost.daemon.process.processes import Processes
from roost.daemon.process.trees import Census, Root
from roost.protocol.errors import TimedOut

MARK = Mark(Tree("s-1", "c-1"), SOCKET)
MARKED = {**ENV, "ROOST_CHILD": str(MARK.tree), "ROOST_DAEMON": MARK.daemon}


def none_of(found: Census) -> list[Stat]:
    """In place of what is killed."""
    return []


async def looked() -> Census:
    return await Looker(lambda: [], frozenset({SOCKET}), none_of).look()


async def s_1(ids: list[str]) -> set[str]:
    return {MARK.tree.owner}


def process(pid: int) -> Stat:
    found = proc.stat(pid)
    assert found is not None
    return found


@contextmanager
def running(*command: str) -> Generator[int]:
    """A marked process that leads a session, killed with its group in the end; its pid."""
    one = subprocess.Popen(command, env=MARKED, start_new_session=True)
    try:
        yield one.pid
    finally:
        with suppress(ProcessLookupError):
            os.killpg(one.pid, signal.SIGKILL)
        one.wait()


def test_a_zombie_that_is_reaped_while_its_threads_are_listed_is_no_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    zombie, listed = process(child.pid), os.listdir

    def late(path: str) -> list[str]:
        folder = os.open(path, os.O_RDONLY)
        child.wait()
        try:
            return listed(folder)
        finally:
            os.close(folder)

    monkeypatch.setattr(os, "listdir", late)
    with pytest.raises(Unread):
        proc.mark(zombie)


def test_what_is_in_the_middle_of_an_exec_is_never_taken_for_one_without_a_mark(tmp_path: Path) -> None:
    """Its old memory is gone, and the new one has no environment yet."""
    again = tmp_path / "again"
    again.write_text('#!/bin/sh\nexec "$0"\n')
    again.chmod(0o700)
    seen: set[Mark | None] = set()
    with running(str(again)) as pid:
        for _ in range(5000):
            with suppress(Unread):
                seen.add(proc.mark(process(pid)))
    assert seen == {MARK}


def test_one_without_an_environment_has_no_mark() -> None:
    """And is known at once: nobody has to look again for its sake."""
    with running("env", "-i", "sleep", "600") as pid:
        while Path(f"/proc/{pid}/cmdline").read_bytes() != b"sleep\x00600\x00":
            pass
        assert proc.mark(process(pid)) is None


@pytest.mark.parametrize("read", ["stat", "mark"])
async def test_a_look_is_not_whole_if_somebody_vanished_before_it_was_read(
    monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    """What it started may have come too late for the lists."""
    child = subprocess.Popen(["sleep", "600"])  # noqa: ASYNC220 - it is reaped in a thread
    monkeypatch.setattr(proc, "pids", lambda: {child.pid, os.getpid()})
    assert (await looked()).whole
    real: Callable[[object], object] = getattr(proc, read)

    def late(one: Stat | int) -> object:
        if child.pid in (one, getattr(one, "pid", 0)):
            child.kill()
            child.wait()
        return real(one)

    monkeypatch.setattr(proc, read, late)
    assert not (await looked()).whole


async def test_a_look_is_whole_though_somebody_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /proc is mounted with hidepid others are there, and nothing of them is to be read, at every look."""
    real, hidden = proc.stat, 1

    def stat(pid: int) -> Stat | None:
        return None if pid == hidden else real(pid)

    monkeypatch.setattr(proc, "pids", lambda: {hidden, os.getpid()})
    monkeypatch.setattr(proc, "stat", stat)
    assert (await looked()).whole


async def test_a_session_does_not_end_by_a_look_that_missed_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the next look finds is waited for."""
    processes = Processes(SOCKET)
    looks = [Census({}, [], whole=False), Census({"s-1": {"c-1": [process(os.getpid())]}}, []), Census({}, [])]

    async def look() -> Census:
        return looks.pop(0)

    monkeypatch.setattr(processes._clearing, "look", look)  # pyright: ignore[reportPrivateUsage]
    await processes.clear(MARK.tree)
    assert looks == []


async def overs(looks: Iterable[tuple[str, bool]], pause: float) -> list[bool]:
    search, told = Search(), list[bool]()
    for left, whole in looks:
        told.append(search.over(left, whole=whole))
        await trio.sleep(pause)
    return told


async def test_a_search_is_over_when_a_look_that_finds_nothing_is_to_be_believed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A whole one at once; else some in a row, over some time."""
    empty, found = ("", False), ("somebody", True)
    assert await overs([found, ("", True)], 0) == [False, True]
    assert await overs([empty] * 5, look.DOUBTING) == [False] * look.DOUBTS + [True] * 2
    assert await overs([empty] * 9, 0) == [False] * 9
    assert await overs([empty, empty, empty, found, empty, empty, empty], 9) == [False] * 7


async def test_a_log_in_shell_that_hangs_keeps_no_daemon_from_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its command line cannot be read, as little as its environment."""
    monkeypatch.setattr(look, "DEADLINE", 1)
    real = proc.is_login_shell
    release, hold = os.pipe()
    async with await start(WAITS) as child:
        await line(child)

        def is_login_shell(one: Stat) -> bool:
            if one.pid == child.pid:
                os.read(release, 1)
            return real(one)

        monkeypatch.setattr(proc, "is_login_shell", is_login_shell)
        roots = [Root("s-1", "c-1", child.identity)]
        with trio.fail_after(30):
            assert (await end_leftovers(roots, sockets=frozenset(), ours=s_1, patience=0)).ended == [child.pid]
        os.write(hold, b".")
    for end in (release, hold):
        os.close(end)


CHAIN = "f() { sleep %s; f & }; f"
"""Each link starts the next one and ends; all are in one session and group."""


@pytest.mark.parametrize("link", ["0.2", "0.02"])
async def test_a_chain_of_forks_that_a_dead_daemon_left_is_ended(link: str) -> None:
    """A look between two links finds nothing, and is not to be believed."""
    with running("sh", "-c", CHAIN % link) as pid:
        await until(lambda: not alive(pid))
        found = await end_leftovers([], sockets=frozenset({SOCKET}), ours=s_1)
        assert found.ended and not found.stuck
        assert not [one for one in proc.walk() if one.sid == pid and one.alive]


def test_process_2_is_not_everywhere_the_kernels_own() -> None:
    """In a container it may be the daemon, and those with its number as their parent its children."""
    apart = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("no pid namespace may be made here")
    code = (
        "import os, subprocess, trio\n"
        "from roost.daemon.process.look import Looker\n"
        "sockets = frozenset({os.environ['ROOST_DAEMON']})\n"
        "async def look(): return await Looker(lambda: [], sockets, lambda _: []).look()\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "while not (found := trio.run(look)).whole: pass\n"  # it may be in the middle of its exec
        "theirs = found.of(found.members)\n"
        "print(os.getpid(), child.pid in [one.pid for one in theirs])\n"
    )
    command = [*apart, "sh", "-c", '"$@" & wait', "sh", sys.executable, "-c", code]
    ran = subprocess.run(command, env=MARKED, capture_output=True, text=True, timeout=60)
    assert ran.stdout == "2 True\n", ran.stderr


def test_a_group_that_has_no_number_here_is_not_killed_as_one() -> None:
    """Its leader is outside this pid namespace; to kill(2) 0 is the caller's own group."""
    code = (
        "import subprocess\n"
        "from roost.daemon.process import look, proc\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "there = {child.pid: proc.stat(child.pid)._replace(pgid=0)}\n"
        "look.kill(there.values(), there)\n"
        "print(child.wait())\n"
    )
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=60, start_new_session=True)
    assert (ran.returncode, ran.stdout) == (0, "-9\n"), ran.stderr


async def test_a_proc_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "DEADLINE", 0.05)
    release, hold = os.pipe()
    monkeypatch.setattr(proc, "pids", lambda: {int(os.read(release, 1))})
    looker = Looker(lambda: [], frozenset(), none_of)
    with pytest.raises(TimedOut, match="/proc did not answer"):
        await looker.look()
    os.write(hold, b"1")
    os.close(hold)
