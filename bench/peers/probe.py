"""What the probes of all peers share. They run in the peers' own interpreters: only the standard library here."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from ..measure import idleness, pinned, rss, spread, timed

ROUNDS = 1_000
LISTS = 20
COMMANDS = 10
LOOKS = 5
IDLE_SECONDS = 5.0
READY_SECONDS = 30.0


def arguments() -> tuple[Path, int]:
    """A directory to work in, and how many children to have."""
    return Path(sys.argv[1]), int(sys.argv[2])


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


def wait_until(ready: Callable[[], bool]) -> None:
    """Until ``ready`` is true and does not raise; the peer is starting."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            if ready():
                return
        except Exception:
            if time.monotonic() > deadline:
                raise
        if time.monotonic() > deadline:
            raise TimeoutError(f"it was not ready within {READY_SECONDS:g} s")
        time.sleep(0.05)


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
