"""A dead child that a debugger holds: its end is said and waited for, and nobody else is kept waiting."""

import signal

import pytest
import trio

from helpers.children import SOCKET, WAITS, alive, descriptors, line, python, spawn, until
from helpers.tracer import TRACEABLE, held
from roost.daemon.process import proc
from roost.daemon.process import spawn as module
from roost.daemon.process.processes import Processes
from roost.protocol.errors import ProcessesLeft


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARTING", 0.1)
    monkeypatch.setattr(module, "HELD", 0.02)


async def test_a_dead_child_that_a_debugger_holds_is_left_and_said() -> None:
    """Until it lets go: then the child has ended as any other, and nothing of it stays."""
    processes, before = Processes(SOCKET), descriptors()
    child = await spawn(python(TRACEABLE + WAITS), processes=processes)
    await line(child)
    with held(child.pid):
        for _ in range(2):
            with pytest.raises(ProcessesLeft, match=f"process {child.pid} is dead, and a debugger holds it") as caught:
                await child.end(0)
            assert caught.value.data == {"pids": [child.pid]}
        assert child.returncode is None and list(processes.children) == [child.pid]
        async with await spawn(python("print('here')"), processes=processes, session="s-2") as other:
            assert await line(other) == "here"
            assert await other.wait() == 0
    with trio.fail_after(30):
        assert await child.end(0) == -signal.SIGKILL
    await child.aclose()
    assert proc.stat(child.pid) is None and not processes.children
    await until(lambda: descriptors() <= before)


async def test_who_waits_for_a_child_that_a_debugger_holds_hears_of_its_end_when_it_lets_go() -> None:
    child = await spawn(python(TRACEABLE + "print('ready', flush=True); input(); raise SystemExit(7)"))
    await line(child)
    ended = trio.Event()

    async def wait() -> None:
        assert await child.wait() == 7
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        with held(child.pid):
            await child.stdin.send_all(b"\n")
            await until(lambda: not alive(child.pid))
            with trio.move_on_after(0.1):
                await ended.wait()
            assert not ended.is_set()
        with trio.fail_after(30):
            await ended.wait()
    await child.aclose()
