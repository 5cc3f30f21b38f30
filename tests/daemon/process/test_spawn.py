"""Children start in a session of their own, tell how they ended, and leave nothing behind."""

import errno
import os
import signal
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
import trio.testing

from helpers.children import (
    ENV,
    IGNORES_SIGTERM,
    SLEEPER,
    SOCKET,
    WAITS,
    alive,
    at_once,
    descriptors,
    line,
    marked,
    python,
    spare_descriptors,
    spawn,
    start,
    until,
)
from roost.daemon.process import proc
from roost.daemon.process.processes import Processes
from roost.daemon.process.spawn import Child
from roost.protocol.errors import EngineFailed, WorkspaceInvalid


async def test_exit_status() -> None:
    async with await start("raise SystemExit(7)") as child:
        assert await child.wait() == 7
        assert child.returncode == 7
        assert repr(child) == f"<Child pid={child.pid} returncode=7>"


async def test_signal_is_a_negative_returncode() -> None:
    async with await start("import os; os.kill(os.getpid(), 15)") as child:
        assert await child.wait() == -signal.SIGTERM


async def test_pipes_environment_and_workspace(tmp_path: Path) -> None:
    code = (
        "import os, sys; sys.stderr.write('log'); print(os.getcwd(), os.environ['MINE'], 'HOME' in os.environ, input())"
    )
    async with await start(code, cwd=tmp_path, env={"MINE": "yes"}) as child:
        await child.stdin.send_all(b"typed\n")
        assert await line(child) == f"{tmp_path} yes False typed"
        assert await child.stderr.receive_some() == b"log"


async def test_session_group_and_identity_are_its_own() -> None:
    async with await start("import os; print(os.getpid(), os.getpgid(0), os.getsid(0))") as child:
        assert await line(child) == f"{child.pid} {child.pid} {child.pid}"
        stat = proc.stat(child.pid)
        assert stat is not None
        assert child.identity == (child.pid, stat.start_time, proc.boot_id(), child.pid, child.pid)


async def test_inherits_no_descriptor() -> None:
    inheritable = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inheritable, True)
    try:
        async with await start("import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1])") as child:
            assert await line(child) == "[0, 1, 2]"
    finally:
        os.close(inheritable)


async def test_any_number_of_tasks_wait_and_one_that_leaves_disturbs_none() -> None:
    seen: list[int] = []
    async with await start("input(); raise SystemExit(3)") as child, trio.open_nursery() as nursery:

        async def wait() -> None:
            seen.append(await child.wait())

        with trio.CancelScope() as leaving:
            leaving.cancel()
            await child.wait()
        for _ in range(20):
            nursery.start_soon(wait)
        first = trio.CancelScope()
        nursery.start_soon(_within, first, child)
        await trio.testing.wait_all_tasks_blocked()
        first.cancel()
        await child.stdin.send_all(b"\n")
    assert seen == [3] * 20


async def _within(scope: trio.CancelScope, child: Child) -> None:
    with scope:
        await child.wait()


async def test_end_asks_before_it_kills() -> None:
    code = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))\n" + WAITS
    child = await start(code)
    await line(child)
    with trio.fail_after(10):
        assert await child.end(600) == 4
    await child.aclose()


async def test_end_closes_stdin_first() -> None:
    child = await start(IGNORES_SIGTERM + "import sys; print('ready', flush=True); sys.stdin.read(); sys.exit(5)")
    await line(child)
    with trio.fail_after(10):
        assert await child.end(600) == 5
    await child.aclose()


async def test_sigterm_ignored_ends_in_sigkill() -> None:
    child = await start(IGNORES_SIGTERM + WAITS)
    await line(child)
    assert await child.end(0.05) == -signal.SIGKILL
    assert not alive(child.pid)
    await child.aclose()


async def test_stopped_child_is_ended_too() -> None:
    child = await start(WAITS)
    await line(child)
    child.signal_group(signal.SIGSTOP)
    await child.end(0.05)
    assert proc.stat(child.pid) is None
    await child.aclose()


async def test_end_may_be_repeated_and_signals_nobody_after() -> None:
    child = await start(WAITS)
    ends: list[int] = []

    async def end() -> None:
        ends.append(await child.end(5))

    await at_once(3, end)
    assert set(ends) == {await child.end(0)} == {child.returncode}
    child.signal_group(signal.SIGKILL)
    await child.aclose()


async def test_cancelled_end_kills_at_once() -> None:
    child = await start(IGNORES_SIGTERM + WAITS)
    await line(child)
    with trio.move_on_after(0.05) as scope:
        await child.end(600)
    assert scope.cancelled_caught
    assert proc.stat(child.pid) is None
    await child.aclose()


async def test_leader_is_a_zombie_until_its_group_was_ended() -> None:
    child = await start(f"{SLEEPER}); print(sleeper.pid, flush=True); os._exit(0)")
    sleeper = int(await line(child))
    assert await child.wait() == 0
    leader = proc.stat(child.pid)
    assert leader is not None and leader.state == "Z"
    assert alive(sleeper)
    assert await child.end(600) == 0
    assert proc.stat(child.pid) is None
    await until(lambda: not alive(sleeper))
    await child.aclose()


async def test_grandchild_that_ignores_sigterm_is_ended_with_its_group() -> None:
    code = IGNORES_SIGTERM + f"{SLEEPER}); print(sleeper.pid, flush=True); signal.pause()"
    child = await start(code)
    sleeper = int(await line(child))
    assert await child.end(0.05) == -signal.SIGKILL
    await until(lambda: not alive(sleeper))
    await child.aclose()


async def fails(command: Sequence[str], cwd: Path | str = "/", env: dict[str, str] | None = None) -> EngineFailed:
    before = descriptors()
    with pytest.raises(EngineFailed) as caught:
        await spawn(command, cwd=cwd, env=env)
    assert descriptors() <= before
    assert caught.value.data["program"] == command[0]
    return caught.value


async def test_missing_program_is_named() -> None:
    error = await fails(["no-such-agent"])
    assert error.message == "cannot start no-such-agent: No such file or directory; correct the engine's command"


async def test_program_is_searched_in_the_path_of_the_child(tmp_path: Path) -> None:
    (tmp_path / "agent").write_text("#!/bin/sh\nexit 6\n")
    (tmp_path / "agent").chmod(0o755)
    await fails(["agent"])
    async with await spawn(["agent"], env={"PATH": str(tmp_path)}) as child:
        assert await child.wait() == 6


async def test_program_that_cannot_be_executed(tmp_path: Path) -> None:
    (tmp_path / "agent").write_text("text")
    assert "Permission denied" in (await fails([str(tmp_path / "agent")])).message
    (tmp_path / "agent").write_text("#!/no/such/interpreter\n")
    (tmp_path / "agent").chmod(0o755)
    assert "interpreter" in (await fails([str(tmp_path / "agent")])).message


async def test_command_that_the_kernel_refuses() -> None:
    assert "stdin" in (await fails([sys.executable, "x" * 1_000_000])).message
    assert "null byte" in (await fails([sys.executable, "a\0b"])).message


async def test_workspace_is_told_from_the_program(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for cwd in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(WorkspaceInvalid) as caught:
            await spawn(python(""), cwd=cwd)
        assert caught.value.data["workspace"] == str(cwd)
        assert str(cwd) in caught.value.message


async def test_descriptors_that_run_out_leave_nothing() -> None:
    """Whichever descriptor of a start is the one too many: the error is ours, no process and no descriptor stays."""
    mark = f"MARK={uuid.uuid4().hex}"
    command, env = ["sleep", "600"], {**ENV, "MARK": mark}
    before = descriptors()
    failed = 0
    for spare in range(20):
        with spare_descriptors(spare):
            try:
                child = await spawn(command, env=env)
            except EngineFailed as error:
                failed += 1
                assert "raise the limits" in error.message
            else:
                await child.aclose()
        assert list(marked(mark)) == []
        assert descriptors() <= before
    assert 3 < failed < 20


async def test_process_that_cannot_be_held_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another task may take the last descriptor between a start and its pidfd."""

    def none_left(pid: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    mark = f"MARK={uuid.uuid4().hex}"
    monkeypatch.setattr(os, "pidfd_open", none_left)
    assert "raise the limits" in (await fails(["sleep", "600"], env={**ENV, "MARK": mark})).message
    assert list(marked(mark)) == []


async def test_process_that_cannot_be_known_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another task may take the last descriptor between a pidfd and the look at its process."""

    def none_left(pid: int) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    mark, before = f"MARK={uuid.uuid4().hex}", descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(proc, "stat", none_left)
        assert "raise the limits" in (await fails(["sleep", "600"], env={**ENV, "MARK": mark})).message
    assert list(marked(mark)) == [] and descriptors() <= before


async def test_cancelled_spawn_leaves_nothing() -> None:
    """Cancelled before, while and after its thread starts the process."""
    mark = f"MARK={uuid.uuid4().hex}"
    before = descriptors()
    for moment in range(40):
        processes = Processes(SOCKET, at_once=3)
        with trio.move_on_after(moment * 0.0005):
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(_held, mark, processes)
    await until(lambda: not list(marked(mark)))
    await until(lambda: descriptors() <= before)


async def _held(mark: str, processes: Processes) -> None:
    async with await spawn(["sleep", "600"], env={**ENV, "MARK": mark}, processes=processes):
        await trio.sleep_forever()


async def test_two_hundred_at_once() -> None:
    processes = Processes(SOCKET)
    children: list[Child] = []

    async def one() -> None:
        children.append(await spawn(["sleep", "600"], processes=processes, session=f"s-{len(children)}"))

    await at_once(200, one)
    pids = {child.pid for child in children}
    assert len(pids) == 200 and all(map(alive, pids))
    statuses: list[int] = []
    async with trio.open_nursery() as nursery:
        for child in children:
            nursery.start_soon(_ended, child, statuses)
    assert statuses == [-signal.SIGTERM] * 200
    assert not any(map(alive, pids))


async def _ended(child: Child, statuses: list[int]) -> None:
    statuses.append(await child.end(30))
    await child.aclose()
