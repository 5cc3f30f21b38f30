"""Rows about children of ``sleep``: started and ended through the room process/, bare, and by the peers.

As a program it does it once and prints what it took: it becomes a subreaper, which the bench itself must not be.
"""

import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from time import perf_counter

import trio

from roost.daemon.process.processes import Processes
from roost.daemon.process.spawn import Child

from .measure import percentile, timed
from .scale import Scale
from .table import Row

GRACE = 5.0
"""Seconds from SIGTERM to SIGKILL; nothing here needs them."""
TICK = 0.001
"""Seconds that the loop is asked to sleep, again and again, to see how late it wakes."""
COMMAND = ["sleep", "100000"]
GOALS = {"start": (0.3, "start"), "stop": (0.1, "stop children")}
"""Seconds, and under which name the peers' figures are found."""


def rows(scale: Scale) -> Iterator[Row]:
    """Each number is the middle of some runs, ours and bare in turns."""
    ours: list[dict[str, float]] = []
    bare: list[dict[str, float]] = []
    for _ in range(scale.spawnings):
        ours.append(_run(scale.sessions))
        bare.append(_run(scale.sessions, "bare"))
    what = f"{scale.sessions} children of sleep through process/"
    for verb, (goal, key) in GOALS.items():
        seconds, least = _middle(ours, verb), _middle(bare, verb)
        yardstick, ratio = f"one by one by Popen {least:.3f} s", seconds / least
        yield Row(f"{what}: {verb}", f"{seconds:.3f} s", yardstick, ratio, f"<= {goal} s", seconds <= goal, key)
    late = _middle(ours, "late")
    yield Row(f"{what}: loop late by, start", f"{late * 1e3:.1f} ms", goal="<= 25 ms", reached=late <= 0.025)
    late = _middle(ours, "late_stop")
    yield Row(f"{what}: loop late by, stop", f"{late * 1e3:.1f} ms")


def _middle(runs: list[dict[str, float]], key: str) -> float:
    return percentile([run[key] for run in runs], 0.5)


def _run(count: int, *how: str) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.spawning", str(count), *how]
    told: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60).stdout)
    return told


class Lateness:
    """How late, in seconds, the loop woke a task that only sleeps: the most since it was last asked."""

    def __init__(self) -> None:
        self._worst = 0.0

    async def watch(self) -> None:
        while True:
            begin = perf_counter()
            await trio.sleep(TICK)
            self._worst = max(self._worst, perf_counter() - begin - TICK)

    async def of(self, work: Callable[[], Awaitable[None]]) -> tuple[float, float]:
        """How long ``work`` took, and how late the loop was meanwhile."""
        await trio.sleep(10 * TICK)
        self._worst, begin = 0.0, perf_counter()
        await work()
        seconds = perf_counter() - begin
        await trio.sleep(2 * TICK)
        return seconds, self._worst


async def through_the_room(count: int) -> dict[str, float]:
    processes, lateness = Processes(f"/nowhere/{os.getpid()}"), Lateness()
    children: list[Child] = []

    async def start() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(one, f"s-{number}")

    async def one(session: str) -> None:
        env = {"PATH": os.environ["PATH"], "ROOST_SESSION": session, "ROOST_DAEMON": processes.socket}
        children.append(await processes.spawn(session, COMMAND, cwd="/", env=env))

    async def stop() -> None:
        async with trio.open_nursery() as nursery:
            for child in children:
                nursery.start_soon(child.end, GRACE)

    async with trio.open_nursery() as nursery:
        await nursery.start(processes.run)
        nursery.start_soon(lateness.watch)
        started, late = await lateness.of(start)
        stopped, late_stop = await lateness.of(stop)
        nursery.cancel_scope.cancel()
    return {"start": started, "late": late, "stop": stopped, "late_stop": late_stop}


def bare(count: int) -> dict[str, float]:
    children: list[subprocess.Popen[bytes]] = []
    pipe = subprocess.PIPE

    def start() -> None:
        for _ in range(count):
            children.append(subprocess.Popen(COMMAND, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True))

    def stop() -> None:
        for child in children:
            child.terminate()
        for child in children:
            child.wait()

    return {"start": timed(start), "stop": timed(stop)}


if __name__ == "__main__":
    count = int(sys.argv[1])
    print(json.dumps(bare(count) if "bare" in sys.argv else trio.run(through_the_room, count)))
