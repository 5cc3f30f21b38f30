"""Children of ``sleep`` started and ended through the room process/, once; prints what it took.

It is a program because it becomes a subreaper, which the bench itself must not be.
"""

import json
import os
import sys
from collections.abc import Awaitable, Callable
from time import perf_counter

import trio

from roost.daemon.process.processes import Processes
from roost.daemon.process.spawn import Child

from .spawning import COMMAND

GRACE = 5.0
"""Seconds from SIGTERM to SIGKILL; nothing here needs them."""
TICK = 0.001
"""Seconds that the loop is asked to sleep, again and again, to see how late it wakes."""


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


async def main(count: int) -> dict[str, float]:
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


if __name__ == "__main__":
    print(json.dumps(trio.run(main, int(sys.argv[1]))))
