"""A dead daemon's children are waited for, then killed; nobody else's are touched."""

import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
import trio.testing

from helpers.children import (
    IGNORES_SIGTERM,
    SLEEPER,
    SOCKET,
    WAITS,
    alive,
    at_once,
    everything,
    line,
    python,
    spawn,
    start,
    until,
)
from roost.daemon.process import leftovers, look, proc
from roost.daemon.process.leftovers import end_leftovers
from roost.daemon.process.proc import Identity
from roost.daemon.process.processes import Processes
from roost.daemon.process.spawn import Child
from roost.daemon.process.trees import Root


def spare(doomed: object, there: object) -> None:
    """In place of the kill."""


async def none_of_ours(ids: list[str]) -> set[str]:
    return set()


async def end(recorded: Sequence[Identity], *, patience: float, sessions: Sequence[str] = ()) -> list[int]:
    """End what those of session ``s-1`` and the other sessions of the same store have left; the killed pids."""

    async def ours(ids: list[str]) -> set[str]:
        return set(ids) & set(sessions)

    roots = [Root("s-1", "c-1", identity) for identity in recorded]
    found = await end_leftovers(roots, sockets=frozenset({SOCKET}), ours=ours, patience=patience)
    assert found.stuck == {}
    return found.ended


async def test_nothing_recorded_nothing_done() -> None:
    assert await end([], patience=600) == []


async def test_what_is_gone_is_not_waited_for() -> None:
    async with await start("") as child:
        await child.wait()
        with trio.fail_after(10):
            assert await end([child.identity], patience=600) == []


async def test_those_that_go_by_themselves_are_not_killed() -> None:
    """Workers end when their stdin closes, and may take a while for that."""
    code = "import sys, time; print('ready', flush=True); sys.stdin.read(); time.sleep(0.3)"
    async with await start(code) as child:
        await line(child)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_closes, child)
            with trio.fail_after(10):
                assert await end([child.identity], patience=600) == []
        assert await child.wait() == 0


async def _closes(child: Child) -> None:
    await trio.testing.wait_all_tasks_blocked()
    child.stdin.close()


async def test_those_that_stay_are_killed() -> None:
    children: list[Child] = []

    async def one() -> None:
        children.append(await start(IGNORES_SIGTERM + WAITS))

    await at_once(20, one)
    assert await end([child.identity for child in children], patience=0.05) == sorted(child.pid for child in children)
    assert not any(alive(child.pid) for child in children)
    for child in children:
        assert await child.wait() == -9
        await child.aclose()


async def test_pid_of_another_boot_or_of_another_process_is_spared() -> None:
    async with await spawn(python(WAITS), session="s-2") as child:
        await line(child)
        other_boot = child.identity._replace(boot_id="another")
        recycled = child.identity._replace(start_time=child.identity.start_time - 1)
        assert await end([other_boot, recycled], patience=0) == []
        assert alive(child.pid)


@pytest.mark.parametrize("reaped", [False, True])
async def test_members_of_the_session_are_killed_without_their_leader(reaped: bool) -> None:
    """One that has left the group, so that it outlives its leader, but not the session."""
    child = await start(f"{SLEEPER}, process_group=0); print(sleeper.pid, flush=True); os._exit(0)")
    sleeper = int(await line(child))
    await child.wait()
    if reaped:
        child._reap()  # pyright: ignore[reportPrivateUsage] - as init does it
    assert alive(sleeper)
    assert await end([child.identity], patience=0) == [sleeper]
    await until(lambda: not alive(sleeper))
    await child.aclose()


@pytest.mark.parametrize(
    "session, socket, ended",
    [("s-1", SOCKET, True), ("s-2", SOCKET, False), ("s-1", "/other", False)],
    ids=["ours", "another store's", "another daemon's"],
)
async def test_what_left_its_session_is_found_by_the_mark(session: str, socket: str, ended: bool) -> None:
    """That of a session of this store, and of a roostd that listened where this one does."""
    code = f"{SLEEPER}, start_new_session=True); print(sleeper.pid, flush=True); os._exit(0)"
    child = await spawn(python(code), processes=Processes(socket), session=session)
    sleeper = int(await line(child))
    await child.wait()
    try:
        assert await end([], patience=0, sessions=["s-1", "s-3"]) == ([sleeper] if ended else [])
        assert alive(sleeper) != ended
    finally:
        os.kill(sleeper, 9)
        await child.aclose()


@pytest.mark.parametrize("age, ended", [(1, True), (-1, False)], ids=["older", "younger"])
async def test_a_number_without_its_leader_is_proven_by_a_member_that_is_older_than_the_daemons_death(
    age: int, ended: bool
) -> None:
    """A younger one may have been given the same numbers again."""
    child = await start(f"{SLEEPER}, process_group=0, env={{}}); print(sleeper.pid, flush=True); os._exit(0)")
    sleeper = int(await line(child))
    await child.wait()
    child._reap()  # pyright: ignore[reportPrivateUsage] - as init does it
    found = proc.stat(sleeper)
    assert found is not None and alive(sleeper)
    try:
        roots = [Root("s-1", "c-1", child.identity, found.start_time + age)]
        told = await end_leftovers(roots, sockets=frozenset(), ours=none_of_ours, patience=0)
        assert told.ended == ([sleeper] if ended else [])
    finally:
        os.kill(sleeper, 9) if alive(sleeper) else None
        await child.aclose()


async def test_the_ticks_of_a_moment_are_those_of_what_begins_then() -> None:
    before = proc.ticks(time.time_ns() // 1_000_000)
    async with await start(WAITS) as child:
        assert before - 2 <= child.identity.start_time <= proc.ticks(time.time_ns() // 1_000_000) + 2


async def test_itself_and_its_ancestors_are_spared(tmp_path: Path) -> None:
    """A daemon started from within a leftover session ends what is beside it, and neither itself nor its parent."""
    inner = tmp_path / "inner.py"
    inner.write_text(
        "import os, sys, trio\n"
        "from roost.daemon.process import proc\n"
        "from roost.daemon.process.leftovers import end_leftovers\n"
        "from roost.daemon.process.trees import Identity, Root\n"
        "leader = proc.stat(os.getsid(0))\n"
        "identity = Identity.of(leader)\n"
        "async def ours(ids): return set()\n"
        "roots, sockets = [Root('s-1', 'c-1', identity)], frozenset({'/nowhere'})\n"
        "async def main(): return await end_leftovers(roots, sockets=sockets, ours=ours, patience=0)\n"
        "print(trio.run(main).ended)\n"
    )
    outer = (
        f"{SLEEPER}, stdout=subprocess.DEVNULL)\n"
        f"done = subprocess.run([sys.executable, {str(inner)!r}], capture_output=True, text=True)\n"
        "print(done.stdout.strip() == f'[{sleeper.pid}]', sleeper.wait(), done.stderr)"
    )
    command = [sys.executable, "-c", outer]
    async with await spawn(command) as child:
        assert (await everything(child)).split() == [b"True", b"-9"]


async def test_those_that_do_not_end_are_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What SIGKILL cannot end hangs in the kernel; here the kill is left out."""
    monkeypatch.setattr(leftovers, "LAST_PATIENCE", 0.05)
    monkeypatch.setattr(look, "kill", spare)
    async with await start(WAITS) as child:
        await line(child)
        with caplog.at_level(logging.ERROR):
            found = await end_leftovers(
                [Root("s-1", "c-1", child.identity)], sockets=frozenset(), ours=none_of_ours, patience=0
            )
        assert (found.ended, found.stuck) == ([], {"s-1": [child.pid]})
        assert f"do not end although they were killed: {found.stuck}" in caplog.text


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
    async with await spawn([str(odd), "600"]) as child:
        found = proc.stat(child.pid)
        assert found is not None
        assert (found.ppid, found.pgid, found.sid) == (os.getpid(), child.pid, child.pid)
