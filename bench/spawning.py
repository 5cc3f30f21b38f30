"""Rows about children of ``sleep``: started and ended through the room process/, bare, and by the peers.

As a program it does it bare, once, and prints what it took.
"""

import json
import subprocess
import sys
from collections.abc import Iterator

from .measure import percentile, timed
from .scale import Scale
from .table import Row

COMMAND = ["sleep", "100000"]
GOALS = {"start": (0.3, "start"), "stop": (0.1, "stop children")}
"""Seconds, and under which name the peers' figures are found."""


def rows(scale: Scale) -> Iterator[Row]:
    """Each number is the middle of some runs, ours and bare in turns."""
    ours: list[dict[str, float]] = []
    bare: list[dict[str, float]] = []
    for _ in range(scale.spawnings):
        ours.append(_run("room", scale.sessions))
        bare.append(_run("spawning", scale.sessions))
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


def _run(program: str, count: int) -> dict[str, float]:
    command = [sys.executable, "-m", f"bench.{program}", str(count)]
    told: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60).stdout)
    return told


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
    print(json.dumps(bare(int(sys.argv[1]))))
