"""A dead predecessor's children are waited for, then killed; nobody else's are touched."""

import logging
import os
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from helpers.children import ENV, IGNORES_SIGTERM, SLEEPER, WAITS, alive, at_once, everything, line, start, until
from roost.daemon.process import leftovers, proc
from roost.daemon.process.leftovers import end_leftovers
from roost.daemon.process.spawn import Child, spawn


async def test_nothing_recorded_nothing_done() -> None:
    assert await end_leftovers([]) == []


async def test_what_is_gone_is_not_waited_for() -> None:
    async with await start("") as child:
        await child.wait()
        with trio.fail_after(10):
            assert await end_leftovers([child.identity], patience=600) == []


async def test_those_that_go_by_themselves_are_not_killed() -> None:
    """Workers end when their stdin closes."""
    async with await start("import sys; print('ready', flush=True); sys.stdin.read()") as child:
        await line(child)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_closes, child)
            with trio.fail_after(10):
                assert await end_leftovers([child.identity], patience=600) == []
        assert await child.wait() == 0


async def _closes(child: Child) -> None:
    await trio.testing.wait_all_tasks_blocked()
    child.stdin.close()


async def test_those_that_stay_are_killed() -> None:
    children: list[Child] = []

    async def one() -> None:
        children.append(await start(IGNORES_SIGTERM + WAITS))

    await at_once(20, one)
    assert await end_leftovers([child.identity for child in children], patience=0.05) == sorted(
        child.pid for child in children
    )
    assert not any(alive(child.pid) for child in children)
    for child in children:
        assert await child.wait() == -9
        await child.aclose()


async def test_pid_of_another_boot_or_of_another_process_is_spared() -> None:
    async with await start(WAITS) as child:
        await line(child)
        other_boot = child.identity._replace(boot_id="another")
        recycled = child.identity._replace(start_time=child.identity.start_time - 1)
        assert await end_leftovers([other_boot, recycled], patience=0) == []
        assert alive(child.pid)


@pytest.mark.parametrize("reaped", [False, True])
async def test_members_of_the_session_are_killed_without_their_leader(reaped: bool) -> None:
    """One that has left the group, so that it outlives its leader, but not the session."""
    child = await start(f"{SLEEPER}, process_group=0); print(sleeper.pid, flush=True); os._exit(0)")
    sleeper = int(await line(child))
    await child.wait()
    if reaped:
        await child.aclose()
    assert alive(sleeper)
    assert await end_leftovers([child.identity], patience=0) == [sleeper]
    await until(lambda: not alive(sleeper))
    await child.aclose()


async def test_other_sessions_are_spared() -> None:
    child = await start(f"{SLEEPER}, start_new_session=True); print(sleeper.pid, flush=True); os._exit(0)")
    sleeper = int(await line(child))
    await child.wait()
    try:
        assert await end_leftovers([child.identity], patience=0) == []
        assert alive(sleeper)
    finally:
        os.kill(sleeper, 9)
        await child.aclose()


async def test_itself_and_its_ancestors_are_spared(tmp_path: Path) -> None:
    """A daemon started from within a leftover session ends what is beside it, and neither itself nor its parent."""
    inner = tmp_path / "inner.py"
    inner.write_text(
        "import os, sys, trio\n"
        "from roost.daemon.process import proc\n"
        "from roost.daemon.process.leftovers import end_leftovers\n"
        "from roost.daemon.process.spawn import Identity\n"
        "leader = proc.stat(os.getsid(0))\n"
        "identity = Identity(leader.pid, leader.start_time, proc.boot_id(), leader.pgid, leader.sid)\n"
        "async def main(): return await end_leftovers([identity], patience=0)\n"
        "print(trio.run(main))\n"
    )
    outer = (
        f"{SLEEPER}, stdout=subprocess.DEVNULL)\n"
        f"done = subprocess.run([sys.executable, {str(inner)!r}], capture_output=True, text=True)\n"
        "print(done.stdout.strip() == f'[{sleeper.pid}]', sleeper.wait(), done.stderr)"
    )
    command = [sys.executable, "-c", outer]
    async with await spawn(command, cwd="/", env=ENV, limiter=trio.CapacityLimiter(1)) as child:
        assert (await everything(child)).split() == [b"True", b"-9"]


async def test_those_that_do_not_end_are_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What SIGKILL cannot end hangs in the kernel; here the daemon gives up before it has killed."""
    monkeypatch.setattr(leftovers, "LAST_PATIENCE", -1.0)
    async with await start(WAITS) as child:
        await line(child)
        with caplog.at_level(logging.ERROR):
            assert await end_leftovers([child.identity], patience=1) == []
        assert f"do not end: [{child.pid}]" in caplog.text


async def test_process_that_took_over_a_pid_is_not_killed() -> None:
    async with await start(WAITS) as child:
        found = proc.stat(child.pid)
        assert found is not None
        proc.kill(found._replace(start_time=found.start_time - 1))
        assert alive(child.pid)
        proc.kill(found)
        assert await child.wait() == -9
    proc.kill(found)


async def test_stat_of_a_program_with_an_odd_name(tmp_path: Path) -> None:
    odd = tmp_path / "a) R 1 2 (b"
    odd.symlink_to("/bin/sleep")
    limiter = trio.CapacityLimiter(1)
    async with await spawn([str(odd), "600"], cwd="/", env=ENV, limiter=limiter) as child:
        found = proc.stat(child.pid)
        assert found is not None
        assert (found.ppid, found.pgid, found.sid) == (os.getpid(), child.pid, child.pid)
