"""The three pipes of a child: all of its output, frames that stay whole, and nobody waits for a pipe for ever."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from helpers.children import alive, python, spawn, until
from roost.daemon.process import proc
from roost.daemon.process import spawn as module
from roost.daemon.process.outlet import UNSENT, Outlet
from roost.daemon.process.spawn import Child
from roost.daemon.process.stdio import Stdio
from roost.daemon.process.watch import Watch

SLEEPER = "import os, subprocess; sleeper = subprocess.Popen(['sleep', '1000']"


class Output:
    def __init__(self) -> None:
        self.data = b""
        self.gate = trio.Event()
        self.gate.set()

    async def take(self, piece: bytes) -> None:
        await self.gate.wait()
        self.data += piece


class Deaf:
    told = 0

    async def tell(self) -> None:
        self.told += 1


@asynccontextmanager
async def started(code: str, output: Output, deaf: Deaf) -> AsyncGenerator[tuple[Child, Stdio]]:
    async with await spawn(python(code), cwd="/") as child:
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                with Stdio(child, Watch(), nursery.start_soon, output.take, deaf=deaf.tell) as pipes:
                    yield child, pipes
                nursery.cancel_scope.cancel()


@pytest.fixture
def output() -> Output:
    return Output()


@pytest.fixture
def deaf() -> Deaf:
    return Deaf()


async def test_all_that_was_printed_before_the_end_is_read(output: Output, deaf: Deaf) -> None:
    code = "import sys; sys.stdout.write('x' * 1_000_000); sys.stderr.write('one\\ntwo\\n')"
    async with started(code, output, deaf) as (child, pipes):
        await pipes.drained()
    assert output.data == b"x" * 1_000_000 and pipes.stderr() == "one\ntwo\n" and child.returncode == 0


async def test_frames_come_in_order_and_then_the_end(output: Output, deaf: Deaf) -> None:
    async with started("import sys; print(len(sys.stdin.read()))", output, deaf) as (_, pipes):
        for frame in (b"one", b"x" * 500_000, b"two"):
            await pipes.send(frame)
        await pipes.finish()
        await pipes.drained()
    assert output.data == b"500006\n"


async def test_a_child_whose_output_nobody_takes_waits_for_its_own_pipe(output: Output, deaf: Deaf) -> None:
    output.gate = trio.Event()
    code = "import os\nfor _ in range(100): os.write(1, b'x' * 4096)\nos.write(2, b'done')"
    async with started(code, output, deaf) as (child, pipes):
        await until(lambda: sleeping(child.pid))
        assert pipes.stderr() == "", "it waits for room in its stdout"
        output.gate.set()
        await pipes.drained()
    assert output.data == b"x" * 409_600 and pipes.stderr() == "done"


async def test_a_grandchild_that_holds_the_pipes_delays_nobody(
    output: Output, deaf: Deaf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DRAIN", 0.05)
    code = f"{SLEEPER}, start_new_session=True); print(sleeper.pid, flush=True); os._exit(0)"
    async with started(code, output, deaf) as (_, pipes):
        await pipes.drained()
        assert alive(int(output.data)), "it holds the pipe all the time"
    assert not alive(int(output.data))


async def test_a_child_that_reads_no_more_is_told_of_once(output: Output, deaf: Deaf) -> None:
    code = "import os, signal; os.close(0); print(1, flush=True); signal.pause()"
    async with started(code, output, deaf) as (_, pipes):
        await until(lambda: output.data)
        await pipes.send(b"x")
        await until(lambda: deaf.told)
        with pytest.raises(trio.BrokenResourceError):
            await pipes.send(b"y")
    assert deaf.told == 1


def sleeping(pid: int) -> bool:
    """It has begun to write, and waits."""
    written = int(Path(f"/proc/{pid}/io").read_text().partition("wchar: ")[2].split()[0])
    found = proc.stat(pid)
    return written >= 65_536 and found is not None and found.state == "S"


class SlowStream(trio.abc.SendStream):
    """Takes a little at a time."""

    def __init__(self, stream: trio.abc.SendStream) -> None:
        self.stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        for at in range(0, len(data), 1000):
            await trio.lowlevel.checkpoint()
            await self.stream.send_all(bytes(data)[at : at + 1000])

    async def wait_send_all_might_not_block(self) -> None: ...

    async def aclose(self) -> None: ...


async def test_who_gives_up_waiting_leaves_whole_frames(nursery: trio.Nursery, deaf: Deaf) -> None:
    """A frame that was cut in the middle would make nonsense of all that follows it."""
    ours, theirs = trio.testing.memory_stream_one_way_pair()
    outlet = Outlet(SlowStream(ours), nursery.start_soon, deaf.tell)
    with trio.CancelScope() as scope:
        await outlet.send(b"x" * 50_000)
        scope.cancel()
        await trio.lowlevel.checkpoint()
    await outlet.send(b"end")
    heard = b""
    while not heard.endswith(b"end"):
        heard += bytes(await theirs.receive_some())
    assert heard == b"x" * 50_000 + b"end"


async def test_closed_it_keeps_nobody_waiting(nursery: trio.Nursery, deaf: Deaf) -> None:
    sent = 0

    class Never(SlowStream):
        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            await trio.sleep_forever()

    outlet = Outlet(Never(trio.testing.memory_stream_one_way_pair()[0]), nursery.start_soon, deaf.tell)

    async def send() -> None:
        nonlocal sent
        await outlet.send(b"x")
        sent += 1

    async with trio.open_nursery() as sending:
        for _ in range(UNSENT + 5):
            sending.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        assert sent == UNSENT + 1
        outlet.close()
    with pytest.raises(trio.BrokenResourceError):
        await send()
    nursery.cancel_scope.cancel()
