"""Real trees: a session ends with all that it started, orphans are reaped, and no status is taken from its owner."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from contextlib import ExitStack

import pytest
import trio

from helpers.children import (
    BROOD,
    ENV,
    SOCKET,
    WAITS,
    alive,
    at_once,
    everything,
    line,
    python,
    spare_descriptors,
    spawn,
    start,
    until,
)
from roost.daemon.process import clearing, look, proc
from roost.daemon.process.cgroup import Cgroup
from roost.daemon.process.look import kill
from roost.daemon.process.proc import Mark, Stat, Tree
from roost.daemon.process.processes import Processes
from roost.daemon.process.reaper import strays
from roost.daemon.process.trees import Census
from roost.protocol.errors import ProcessesLeft


async def brood(code: str = "time.sleep(600)") -> list[int]:
    async with await start(BROOD + code) as child:
        pids = [int(pid) for pid in (await line(child)).split()]
        assert all(map(alive, pids)) and len(pids) == 3
    return [child.pid, *pids]


@pytest.mark.parametrize(
    "code", ["time.sleep(600)", "os._exit(0)", "import signal; signal.signal(15, 1); time.sleep(9e9)"]
)
async def test_a_session_ends_with_all_that_it_started(code: str) -> None:
    assert not any(map(alive, await brood(code)))


async def test_other_sessions_of_the_same_daemon_are_spared() -> None:
    processes = Processes(SOCKET)
    other = await spawn(python(WAITS), processes=processes, session="s-2")
    await line(other)
    async with await spawn(python(WAITS), processes=processes) as child:
        await line(child)
    assert alive(other.pid) and processes.children.keys() == {other.pid}
    await other.aclose()
    assert repr(processes) == "<Processes children=0>"


async def test_one_look_serves_all_who_ask_meanwhile() -> None:
    processes = Processes(SOCKET)
    found: list[Census] = []

    async def ask() -> None:
        found.append(await processes.look())

    await at_once(50, ask)
    assert len(found) == 50 and len({id(one) for one in found}) <= 3


async def test_a_look_that_was_given_up_is_taken_by_the_next() -> None:
    processes = Processes(SOCKET)

    async def hasty() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await processes.look()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hasty)
        for _ in range(3):
            nursery.start_soon(processes.look)
            nursery.start_soon(hasty)


async def test_a_process_whose_environment_cannot_be_read_stops_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading it waits for ever while the process hangs in the kernel; what /proc/PID/stat tells is still known."""
    monkeypatch.setattr(look, "DEADLINE", 1)
    real = proc.mark
    async with await start(WAITS) as child:
        await line(child)
        release, hold = os.pipe()

        def mark(process: Stat) -> Mark | None:
            if process.pid == child.pid:
                os.read(release, 1)
            return real(process)

        monkeypatch.setattr(proc, "mark", mark)
        processes = Processes(SOCKET)
        with trio.fail_after(20):
            await processes.look()
            await processes.look()
        os.write(hold, b"..")
    for end in (release, hold):
        os.close(end)


async def test_a_look_that_gets_on_is_waited_for_however_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all compute, a walk takes long; whose environment it reads just then does not hang."""
    monkeypatch.setattr(look, "DEADLINE", 1)
    real, read, walks = proc.stat, list[int](), set[int]()

    def pids() -> set[int]:
        walks.add(threading.get_ident())  # a walk that the test before has given up may still be on its way
        return set(range(1, 9))

    def stat(pid: int) -> Stat | None:
        if threading.get_ident() in walks:
            read.append(pid)
            threading.Event().wait(0.3)
        return real(pid)

    monkeypatch.setattr(proc, "pids", pids)
    monkeypatch.setattr(proc, "stat", stat)
    with trio.fail_after(20):
        await Processes(SOCKET).look()
    assert read == list(range(8, 0, -1)), "it was not begun again"


def spare(doomed: object, there: object) -> None:
    """In place of the kill."""


async def test_what_does_not_end_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It hangs in the kernel; here the kill is left out."""
    monkeypatch.setattr(clearing, "CLEARING", 0.05)
    monkeypatch.setattr(look, "kill", spare)
    child = await start(BROOD + "time.sleep(600)")
    pids = [int(pid) for pid in (await line(child)).split()]
    with pytest.raises(ProcessesLeft) as caught:
        await child.end(5)
    assert caught.value.data == {"session": "s-1", "pids": sorted(pids[1:])}
    monkeypatch.undo()
    await child.aclose()
    assert not any(map(alive, pids))


async def test_who_ends_a_child_too_late_spares_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop by force and the session's task end the same child; when the first has done it, a new one may come."""
    processes, calls, started = Processes(SOCKET), list[Tree](), trio.Event()
    clear = processes.clear

    async def late(tree: Tree, cgroup: Cgroup | None = None) -> None:
        calls.append(tree)
        if len(calls) > 1:
            await started.wait()
        await clear(tree, cgroup)

    monkeypatch.setattr(processes, "clear", late)
    child = await spawn(python(WAITS), processes=processes)
    async with trio.open_nursery() as enders:
        enders.start_soon(child.end, 0)
        enders.start_soon(child.end, 0)
        await until(lambda: child.pid not in processes.children)
        after = await spawn(python(WAITS), processes=processes)
        started.set()
    assert alive(after.pid)
    for one in (child, after):
        await one.aclose()


async def test_without_a_descriptor_it_is_an_error_and_orphans_wait() -> None:
    """The daemon goes on: who wants to know what is left asks again."""
    processes = Processes(SOCKET)
    await processes.look()
    with spare_descriptors(0):
        assert strays(()) == []
        with pytest.raises(ProcessesLeft, match="cannot be seen: Too many open files; raise the limits of roostd"):
            await processes.look()
    await processes.look()


def test_a_group_with_others_in_it_is_not_killed_as_one() -> None:
    processes = [subprocess.Popen(["sleep", "600"], process_group=0)]
    processes.append(subprocess.Popen(["sleep", "600"], process_group=processes[0].pid))
    there = {one.pid: found for one in processes if (found := proc.stat(one.pid))}
    leader, member = there.values()
    proc.kill_group(leader.pid, leader._replace(start_time=leader.start_time - 1))  # it was another one's number
    assert processes[0].poll() is None
    kill([leader], there)
    assert processes[0].wait(10) == -signal.SIGKILL and processes[1].poll() is None
    kill([member], {member.pid: member})
    assert processes[1].wait(10) == -signal.SIGKILL


def in_a_daemon(code: str, *, timeout: float = 60) -> object:
    """What ``code`` prints as JSON in a process of its own, where ``processes`` takes in orphans and reaps them."""
    program = f"""
        import json, os, subprocess, sys, trio
        from roost.daemon.process import proc
        from roost.daemon.process.processes import Processes

        def zombies():
            return [one.pid for one in proc.walk() if one.ppid == os.getpid() and not one.alive]

        async def until(condition):
            with trio.fail_after(20):
                while not condition():
                    await trio.sleep(0.01)

        async def main():
            processes = Processes({SOCKET!r})
            async def spawn(*command, session="s-1"):
                return await processes.spawn(session, command, cwd="/", env=os.environ)
            async with trio.open_nursery() as nursery:
                await nursery.start(processes.run)
{textwrap.indent(textwrap.dedent(code), " " * 16)}
                nursery.cancel_scope.cancel()

        trio.run(main)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], env=ENV, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_three_hundred_that_exit_at_once_and_leave_an_orphan_each() -> None:
    """No status goes to the reaper, and no zombie stays."""
    code = """
        statuses = []
        async def one(number):
            child = await spawn("sh", "-c", "sleep 0.05 & exit 7", session=f"s-{number}")
            statuses.append(await child.wait())
            statuses.append(await child.end(0))
            await child.aclose()
        async with trio.open_nursery() as starters:
            for number in range(300):
                starters.start_soon(one, number)
        await until(lambda: not zombies())
        print(json.dumps([statuses, processes._reaper.reaped > 0]))
    """
    assert in_a_daemon(code) == [[7] * 600, True]


def test_an_orphan_is_reaped_while_its_session_lives_and_a_child_is_left_to_its_owner() -> None:
    code = """
        child = await spawn("sh", "-c", "(sleep 0.1 &) ; exec sleep 600")
        await until(lambda: processes._reaper.reaped == 1)
        child.signal_group(9)
        with trio.move_on_after(0.2):
            await child.wait()
        await until(lambda: zombies() == [child.pid])
        processes._reaper.sweep()
        print(json.dumps([zombies() == [child.pid], await child.end(0), zombies()]))
    """
    assert in_a_daemon(code) == [True, -9, []]


def test_the_status_of_a_child_whose_thread_has_ended_goes_to_its_owner() -> None:
    """It has come to the first thread, as an orphan does; the reaper sees it there, and leaves it."""
    code = """
        import trio._core._thread_cache as cache
        cache.IDLE_TIMEOUT = 0.01
        child = await spawn("sleep", "600")
        def adopted():
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                return str(child.pid) in file.read().split()
        await until(adopted)
        child.signal_group(9)
        await until(lambda: zombies() == [child.pid])
        processes._reaper.sweep()
        print(json.dumps([await child.wait(), await child.end(0), processes._reaper.reaped]))
        await child.aclose()
    """
    assert in_a_daemon(code) == [-9, -9, 0]


def test_what_hid_from_its_session_is_ended_with_the_daemon() -> None:
    """Another environment and another session: nobody knows whose it was, but it came to us when its parent died."""
    code = """
        hidden = "env -i setsid sleep 600 & env -i PATH=$PATH setsid sh -c 'sleep 600 & sleep 600' & exit 0"
        child = await spawn("sh", "-c", hidden)
        await child.wait()
        await until(lambda: len([p for p in proc.walk() if p.comm == b"sleep" and p.ppid == os.getpid()]) >= 1)
        await child.end(0)
        await processes.end_strays(20, "s-1".__eq__)
        print(json.dumps([len((await processes.look()).strays), child.returncode]))
        await child.aclose()
    """
    assert in_a_daemon(code) == [0, 0]


def test_a_stop_leaves_alone_what_is_of_a_daemon_at_the_same_path_in_another_mount_namespace() -> None:
    marks = [{"ROOST_SESSION": session, "ROOST_DAEMON": SOCKET} for session in ("s-1", "s-2")]
    with ExitStack() as ends:
        sleepers = [ends.enter_context(subprocess.Popen(["sleep", "600"], env=ENV | mark)) for mark in marks]
        for sleeper in sleepers:
            ends.callback(sleeper.kill)
        assert in_a_daemon('print(json.dumps(await processes.end_strays(20, "s-1".__eq__)))') == []
        assert [one.poll() for one in sleepers] == [-signal.SIGKILL, None]


def test_a_chain_of_forks_that_no_list_is_long_enough_for_is_ended() -> None:
    """Each link starts the next one and exits: a list of pids is old before it is read."""
    code = """
        chain = "f() { sleep 0.02; f & }; f"
        child = await spawn("sh", "-c", chain)
        await child.wait()
        apart = await spawn("setsid", "sh", "-c", chain)
        await apart.wait()
        await child.end(0)
        await apart.end(0)
        print(json.dumps(len((await processes.look()).members)))
        await child.aclose()
        await apart.aclose()
    """
    assert in_a_daemon(code) == 0


async def test_one_whose_first_thread_has_ended_is_ended_too() -> None:
    """/proc shows it as a zombie, while its other threads run on."""
    code = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=[600]).start()\n"
        "print('ready', flush=True)\n"
        "ctypes.CDLL(None).syscall(60, 0)\n"
    )
    if os.uname().machine != "x86_64":
        pytest.skip("the number of exit(2) is that of x86-64")
    async with await start(
        f"import os\nif os.fork() == 0:\n    os.setsid()\n    exec({code!r})\nelse:\n    {WAITS}"
    ) as child:
        await line(child)
        await until(lambda: any(one.sid != one.pid or one.state == "Z" for one in proc.walk() if one.ppid == child.pid))
        [inner] = [one.pid for one in proc.walk() if one.ppid == child.pid]
        await until(lambda: (found := proc.stat(inner)) is not None and found.state == "Z" and found.alive)
    assert not alive(inner)


async def test_output_of_a_cleared_tree_is_not_waited_for() -> None:
    async with await start("print('out', flush=True)") as child:
        assert await everything(child) == b"out\n"
        assert await child.wait() == 0
        assert await child.end(0) == 0
        assert await child.end(0) == 0, "again is once"
