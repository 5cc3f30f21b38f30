"""What hangs in a dead file system: its start holds one thread, its end is said, and nothing is left of either."""

import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from pathlib import Path

import pytest
import trio

from helpers.cgroups import scratch
from helpers.children import ENV, SOCKET, at_once, descriptors, line, python, spawn, until
from helpers.fuse import Hanging, hanging
from roost.daemon.process import clearing, order
from roost.daemon.process import processes as module
from roost.daemon.process.cgroup import Cgroups, Found
from roost.daemon.process.processes import Processes
from roost.daemon.process.spawn import Child
from roost.protocol.errors import EngineFailed, ProcessesLeft


@pytest.fixture
def dead(tmp_path: Path) -> Generator[Hanging]:
    with hanging(tmp_path / "mount") as file_system:
        yield file_system


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    monkeypatch.setattr(clearing, "CLEARING", 1)
    monkeypatch.setattr(order, "AGAIN", 1)
    return Processes(SOCKET)


def reading(path: Path) -> list[str]:
    """A child that starts one more, which reads ``path``."""
    return python(f"import subprocess; print(subprocess.Popen(['cat', '{path}']).pid, flush=True); input()")


async def test_a_program_on_a_dead_mount_keeps_no_other_thread_waiting(dead: Hanging, processes: Processes) -> None:
    """Popen of Python 3.11.2 keeps the interpreter's lock until the exec: it would stop the loop, and the daemon."""
    before = descriptors()
    dead.deaf()
    with trio.move_on_after(0.3):
        await spawn([f"{dead.path}/program"], processes=processes)
    async with await spawn(python("print('here')"), processes=processes) as child:
        assert await line(child) == "here"
    dead.abort()
    await until(lambda: descriptors() <= before)
    assert not processes.children


async def test_a_start_that_was_given_up_is_undone_when_the_mount_answers(dead: Hanging, processes: Processes) -> None:
    before = descriptors()
    dead.deaf()
    with trio.move_on_after(0.2):
        await spawn([f"{dead.path}/program"], processes=processes)
    dead.well()
    await until(lambda: descriptors() <= before and not processes.spawning.borrowed_tokens)
    assert not processes.children
    assert not [command for command in _running() if f"{dead.path}/program" in command]


async def test_a_start_that_comes_back_though_it_was_given_up_is_ended_and_its_owners_next_child_is_not(
    dead: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mount dies between the look at it and the start."""
    monkeypatch.setattr(module, "_touch", _well)
    with scratch() as folder:
        processes = Processes(SOCKET, cgroups=Found(Cgroups(folder), "for this test"))
        dead.deaf()
        with trio.move_on_after(0.2):
            await spawn(["program"], env={"PATH": str(dead.path)}, processes=processes)
        async with await spawn(python("print('here'); input()"), processes=processes) as child:
            dead.well()
            assert await line(child) == "here"
            await until(lambda: not processes.spawning.borrowed_tokens and list(processes.children) == [child.pid])
            await processes.look()
            assert child.returncode is None and len(list((folder / "s-1").glob("c-*"))) == 1
        assert not (folder / "s-1").exists()


def _well(program: str, cwd: str, env: Mapping[str, str]) -> None:
    """The file systems of all three answer."""


def _running() -> list[str]:
    ran = subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()


async def test_two_enders_of_what_cannot_die_are_both_told_and_leave_nothing(
    dead: Hanging, processes: Processes
) -> None:
    """And a third one that is cancelled on the way."""
    before = descriptors()
    dead.deaf()
    child = await spawn(reading(dead.path / "data"), processes=processes)
    hung = int(await line(child))
    await until(lambda: dead.asked() == 1)
    told: list[list[int]] = []

    async def end() -> None:
        with trio.fail_after(10), pytest.raises(ProcessesLeft) as caught:
            await child.end(0.05)
        told.append(caught.value.data["pids"])

    with trio.move_on_after(0.1):
        await child.end(0.01)
    await at_once(2, end)
    assert told == [[hung], [hung]] and list(processes.children) == [child.pid]
    dead.well()
    with trio.fail_after(10):
        await at_once(3, lambda: _ended(child))
    await child.aclose()
    assert not processes.children
    assert descriptors() <= before


async def _ended(child: Child) -> None:
    await child.end(0.05)


async def test_a_child_that_hangs_itself_is_left_and_said(dead: Hanging, processes: Processes) -> None:
    dead.deaf()
    child = await spawn(["cat", str(dead.path / "data")], processes=processes)
    await until(lambda: dead.asked() == 1)
    with trio.fail_after(10), pytest.raises(ProcessesLeft) as caught:
        await child.end(0.05)
    assert caught.value.data == {"session": "s-1", "pids": [child.pid]}
    dead.abort()
    with trio.fail_after(10):
        await child.aclose()
    assert child.returncode in (-signal.SIGTERM, -signal.SIGKILL)


def test_a_start_fails_with_its_reason_whatever_the_interpreter(tmp_path: Path) -> None:
    """The one start of all children, by itself: in the workspace, with its signals and descriptors, or an error."""
    code = (
        "import os, signal, sys\n"
        "from roost.daemon.process.start import start\n"
        "null = os.open('/dev/null', os.O_RDWR); os.set_inheritable(os.dup(null), True)\n"
        "told = 'pwd; echo $MINE; ls /proc/self/fd | wc -l; grep SigIgn /proc/self/status'\n"
        "start('/bin/sh', ['sh', '-c', told],"
        f" cwd={str(tmp_path)!r}, env={{'MINE': 'yes', 'PATH': os.defpath}}, pipes=[null, 1, 2])\n"
        "os.wait()\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], env=ENV, capture_output=True, text=True, check=True)
    where, mine, count, _, ignored = ran.stdout.split()
    assert (where, mine, count) == (str(tmp_path), "yes", "4")
    assert int(ignored, 16) & 0x7FFFFFFF == 0, "of the 31 signals that have a name it ignores none"


async def test_nothing_with_a_nul_in_it_is_started(processes: Processes) -> None:
    for command, env in ((["echo", "a\0b"], None), (["echo"], {"A": "a\0b"})):
        with pytest.raises(EngineFailed, match="null byte"):
            await spawn(command, env=env, processes=processes)
