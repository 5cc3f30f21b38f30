"""What /proc tells of a daemon under soak and of all that bears its mark."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..measure import MB, rss
from .growth import Sample


class Process(NamedTuple):
    """One that /proc shows. ``start_time`` in clock ticks since boot: with it a pid is no other's."""

    pid: int
    start_time: str
    state: str
    ppid: int

    @property
    def alive(self) -> bool:
        return self.state not in "ZX"


def everything() -> list[Process]:
    found: list[Process] = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError), open(f"/proc/{name}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
            found.append(Process(int(name), fields[19], fields[0], int(fields[1])))
    return found


def marked(there: list[Process], socket: str) -> list[Process]:
    """Those that live and were started for a session of the daemon at ``socket``."""
    mark = f"ROOST_DAEMON={socket}".encode()
    found: list[Process] = []
    for process in there:
        with suppress(OSError), open(f"/proc/{process.pid}/environ", "rb") as environ:
            if process.alive and mark in environ.read().split(b"\0"):
                found.append(process)
    return found


def children(there: list[Process], daemon: int) -> list[Process]:
    return [process for process in there if process.ppid == daemon]


def sample(daemon: int, socket: str, database: Path) -> Sample:
    """Raises OSError: the daemon is gone."""
    there = everything()
    its = children(there, daemon)
    wal = Path(f"{database}-wal")
    return Sample(
        at=time.monotonic(),
        rss=round(rss(daemon) * MB),
        descriptors=len(os.listdir(f"/proc/{daemon}/fd")),
        threads=len(os.listdir(f"/proc/{daemon}/task")),
        children=sum(process.alive for process in its),
        zombies=sum(not process.alive for process in its),
        processes=len(marked(there, socket)),
        wal=wal.stat().st_size if wal.exists() else 0,
    )


def kill(process: Process) -> bool:
    """SIGKILL to this very process; False: it was gone."""
    with suppress(OSError):
        descriptor = os.pidfd_open(process.pid)
        try:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            if fields[19] == process.start_time:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                return True
        finally:
            os.close(descriptor)
    return False
