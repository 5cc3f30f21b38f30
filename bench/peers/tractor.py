"""tractor: an actor is a Python process with Trio at both ends of the connection, the nearest to our own stack."""

import os
import time

import tractor
import trio

from ..measure import pinned, pss, rss, spread
from . import probe

ACTORS = 10


async def status() -> dict[str, str]:
    return {"state": "ready"}


async def pid() -> int:
    return os.getpid()


async def main() -> None:
    starts: list[float] = []
    async with tractor.open_nursery() as nursery:
        for number in range(ACTORS):
            begin = time.perf_counter()
            portal = await nursery.start_actor(f"a{number}", enable_modules=[__name__])
            child = await portal.run(pid)
            starts.append(time.perf_counter() - begin)
        samples: list[float] = []
        with pinned(child):
            for _ in range(probe.ROUNDS):
                begin = time.perf_counter()
                await portal.run(status)
                samples.append(time.perf_counter() - begin)
        figures = {
            "status": spread(samples).ms(),
            "ready": spread(starts).ms(),
            "child": f"{pss(child):.1f} MB",
            "rss": f"{rss(os.getpid()):.1f} MB ({ACTORS} actors)",
        }
        await nursery.cancel()
    probe.report(figures)


if __name__ == "__main__":
    trio.run(main)
