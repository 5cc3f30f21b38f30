"""What the kernel tells about processes in /proc."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import NamedTuple


class Stat(NamedTuple):
    """A process as one line of /proc/PID/stat tells it. ``start_time`` in clock ticks since boot."""

    pid: int
    state: str
    ppid: int
    pgid: int
    sid: int
    start_time: int

    @property
    def alive(self) -> bool:
        """It is neither a zombie nor about to vanish."""
        return self.state not in "ZX"


def stat(pid: int) -> Stat | None:
    """None: there is no such process, or it is hidden from us."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            line = file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The name before the last parenthesis is the program's own choice: it may hold blanks and parentheses.
    field = line[line.rindex(b")") + 2 :].split()
    return Stat(pid, field[0].decode(), int(field[1]), int(field[2]), int(field[3]), int(field[19]))


def walk() -> Iterator[Stat]:
    """Every process that there is. Blocking: some milliseconds for a thousand."""
    for name in os.listdir("/proc"):
        if name.isdecimal() and (found := stat(int(name))):
            yield found


@cache
def boot_id() -> str:
    """The kernel's name for this boot: pids and start times of another one mean nothing."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def kill(process: Stat) -> None:
    """SIGKILL to this very process, never to one that has taken over its pid. Gone, or not ours: nothing."""
    with suppress(ProcessLookupError, PermissionError):
        descriptor = os.pidfd_open(process.pid)
        try:
            now = stat(process.pid)
            if now is not None and now.start_time == process.start_time:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)
