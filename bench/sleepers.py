"""Processes told apart from all others by how long they sleep, whatever became of their parents and environment.

Only the standard library: the peers' interpreters use it too.
"""

import os
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

SECONDS = 60.0


@contextmanager
def nights(count: int) -> Generator[range]:
    """Numbers of seconds that nobody else sleeps; who still sleeps so long at the end is killed."""
    first = 100_000_000 + os.getpid() * 100
    numbers = range(first, first + count)
    try:
        yield numbers
    finally:
        for number in numbers:
            for pid in sleeping(number):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def sleeping(seconds: int) -> list[int]:
    """The pids of all that run ``sleep seconds``."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):  # ended meanwhile; a zombie has no command line
            if entry.name.isdigit() and (entry / "cmdline").read_bytes() == b"sleep\0%d\0" % seconds:
                found.append(int(entry.name))
    return found


def wait_until(ready: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Until ``ready`` is true and does not raise."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if ready():
                return
        except Exception:
            if time.monotonic() > deadline:
                raise
        if time.monotonic() > deadline:
            raise TimeoutError(f"it was not so within {seconds:g} s")
        time.sleep(0.005)


def settled(count: Callable[[], int], quiet: float) -> int:
    """What ``count`` says when it has said the same for ``quiet`` seconds."""
    last, since = count(), time.monotonic()
    while time.monotonic() - since < quiet:
        time.sleep(0.05)
        if (now := count()) != last:
            last, since = now, time.monotonic()
    return last


def cpu_seconds(pid: int) -> float:
    """What it has spent on a core, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def brood(plain: int, apart: int) -> str:
    """A shell script: a child with a grandchild in its own group and one in a session of its own."""
    return f"sleep {plain} & setsid sleep {apart} & wait\n"


def crash(starts: Path) -> str:
    """A shell script that leaves its pid in a file and exits at once."""
    return f"echo $$ >>{starts}\nexit 1\n"


def survivors(plain: int, apart: int) -> str:
    return f"plain {len(sleeping(plain))}, setsid {len(sleeping(apart))}"


def doubled(before: int, after: int) -> str:
    return f"{after} of {before}" if after <= before else f"{after} where {before} were"
