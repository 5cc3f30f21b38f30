"""A dead child that a debugger holds: its status is known when it is let go, and it keeps nobody else waiting."""

import signal

import pytest
import trio

from helpers.children import SOCKET, WAITS, alive, descriptors, line, python, spawn, until
from helpers.tracer import TRACEABLE, held
from roost.daemon.process import proc
from roost.daemon.process import spawn as module
from roost.daemon.process.processes import Processes
from roost.protocol.errors import ProcessesLeft


async def test_the_end_of_a_child_that_a_debugger_holds_is_an_error_until_it_is_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PARTING", 0.1)
    processes, before = Processes(SOCKET), descriptors()
    child = await spawn(python(TRACEABLE + WAITS), processes=processes)
    await line(child)
    with held(child.pid):
        for _ in range(2):
            with pytest.raises(ProcessesLeft, match=f"process {child.pid} was killed and is not gone") as caught:
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


async def test_a_task_that_waits_for_a_child_that_a_debugger_holds_hears_of_its_end_when_it_is_let_go(
    caplog: pytest.LogCaptureFixture,
) -> None:
    child = await spawn(python(TRACEABLE + "print('ready', flush=True); input(); raise SystemExit(7)"))
    await line(child)

    async def wait() -> None:
        assert await child.wait() == 7

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        with held(child.pid):
            await child.stdin.send_all(b"\n")
            await until(lambda: f"child {child.pid} is dead, and a debugger holds it" in caplog.text)
            assert not alive(child.pid) and child.returncode is None
    await child.aclose()
