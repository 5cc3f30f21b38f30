"""What the probes of all peers share. They run in the peers' own interpreters: only the standard library here."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from ..measure import idleness, pinned, rss, spread, timed
from ..sleepers import brood, cpu_seconds, crash, doubled, nights, settled, sleeping, survivors, wait_until

ROUNDS = 1_000
LISTS = 20
COMMANDS = 10
LOOKS = 5
IDLE_SECONDS = 5.0
READY_SECONDS = 30.0
QUIET = 1.0
"""Seconds without a change after which nothing more is expected."""


class Running(NamedTuple):
    """A peer's daemon that supervises some commands, and how it is asked to start, to stop and to tell of them all."""

    pid: int
    start: Callable[[], object]
    stop: Callable[[], object]
    states: Callable[[], list[str]]


Run = Callable[[list[str]], AbstractContextManager[Running]]


def arguments() -> tuple[Path, int, float]:
    """A directory to work in, how many children to have, and how many seconds of a crash loop to look at."""
    return Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])


def report(figures: dict[str, str]) -> None:
    print(json.dumps(figures))


@contextmanager
def daemon(command: list[str], directory: Path) -> Generator[subprocess.Popen[bytes]]:
    """The peer's daemon, killed at the end if it lives."""
    with open(directory / "peer.log", "ab") as log:
        process = subprocess.Popen(command, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def round_trips(pid: int, status: Callable[[], object], everything: Callable[[], object]) -> dict[str, str]:
    """One child's status by a persistent client on the daemon's core, and the statuses of all."""
    with pinned(pid):
        samples = [timed(status) for _ in range(ROUNDS + ROUNDS // 10)][ROUNDS // 10 :]
        lists = [timed(everything) for _ in range(LISTS)]
    return {"status": spread(samples).ms(), "list": spread(lists).ms()}


def usage(stats: Callable[[], object], status: Callable[[], object]) -> dict[str, str]:
    """What all children use; and the longest that another client waits for one child's status meanwhile."""
    samples = [timed(stats) for _ in range(LOOKS)]
    longest: list[float] = []
    for _ in range(LOOKS):
        asking = threading.Thread(target=stats)
        asking.start()
        longest.append(max([timed(status), *(timed(status) for _ in iter(asking.is_alive, False))]))
        asking.join()
    return {"stats": spread(samples).ms(), "meanwhile": spread(longest).ms()}


def command_line(command: list[str]) -> dict[str, str]:
    """The whole process that lists everything."""
    samples = [timed(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=False)) for _ in range(COMMANDS)]
    return {"cli": spread(samples).ms()}


def rest(process: subprocess.Popen[bytes]) -> dict[str, str]:
    """Memory, idling, and the stop."""
    memory = rss(process.pid)
    switches, cpu = idleness(process.pid, IDLE_SECONDS)
    os.kill(process.pid, signal.SIGTERM)
    stop = timed(lambda: process.wait(READY_SECONDS))
    return {
        "rss": f"{memory:.1f} MB",
        "switches": f"{switches:.1f}/s",
        "cpu": f"{cpu:.3f} %",
        "stop": f"{stop:.3f} s (nothing to save)",
    }


def supervision(run: Run, up: str) -> dict[str, str]:
    """How it starts and ends children, and what it leaves. ``up``: the state of one that runs."""
    directory, children, seconds = arguments()
    with nights(3) as (night, plain, apart):
        sleepers = [f"sleep {night}"] * children
        with run(sleepers) as peer:
            figures = _start_and_stop(peer, night, children)
        with run(sleepers) as peer:  # the one before was killed
            wait_until(lambda: peer.states().count(up) == children)
            figures["doubled"] = doubled(children, settled(lambda: len(sleeping(night)), QUIET))
        with run([_script(directory, "brood", brood(plain, apart))]) as peer:
            wait_until(lambda: bool(sleeping(plain) and sleeping(apart)))
            peer.stop()
            settled(lambda: len(sleeping(plain) + sleeping(apart)), QUIET)
            figures["survivors"] = survivors(plain, apart)
    with run([_script(directory, "crash", crash(directory / "starts"))]) as peer:
        before = cpu_seconds(peer.pid)
        time.sleep(seconds)
        cpu = (cpu_seconds(peer.pid) - before) / seconds * 100
        starts = len((directory / "starts").read_text().splitlines())
        figures["crash"] = f"{starts} starts, then {peer.states()[0]}, CPU {cpu:.2f} %"
    return figures


def _script(directory: Path, name: str, text: str) -> str:
    (directory / name).write_text(text)
    return f"sh {directory / name}"


def _start_and_stop(peer: Running, night: int, children: int) -> dict[str, str]:
    """From the request until all sleep, and until none does."""

    def to(count: int, ask: Callable[[], object]) -> float:
        def change() -> None:
            ask()
            wait_until(lambda: len(sleeping(night)) == count)

        return timed(change)

    wait_until(lambda: len(sleeping(night)) == children)
    to(0, peer.stop)
    start, stop = to(children, peer.start), to(0, peer.stop)
    to(children, peer.start)  # for whoever kills the daemon now
    return {"start": f"{start:.3f} s", "stop children": f"{stop:.3f} s"}
