"""How a worker ends: what it started first, then itself. After ``kill -9`` of roostd nobody else would."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from ..protocol.record import Record

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    from typing import NoReturn

SIGKILL, SIGTERM = 9, 15  # importing signal for its names would cost each worker 0.25 MB
TERM_GRACE = 0.5
"""Seconds between SIGTERM and SIGKILL."""
KILL_GRACE = 0.3
"""Seconds after which a process that SIGKILL did not end (it hangs in the kernel) is left."""


class Process(Record):
    """Numbers of a process: its own, its parent's, its group's and its session's."""

    __slots__ = __match_args__ = ("pid", "parent", "group", "session")

    def __init__(self, pid: int, parent: int, group: int, session: int) -> None:
        self.pid = pid
        self.parent = parent
        self.group = group
        self.session = session


def end(status: int, message: str = "") -> NoReturn:
    """End what this process started, then this process, whatever its other threads do."""
    if message:
        try:
            os.write(2, f"roost worker: {message}\n".encode())
        except OSError:
            pass  # who should read it may be gone
    end_started()
    os._exit(status)


def end_started() -> None:
    """Ask all that this process started to end, and kill what does not; takes a second where a look takes no time."""
    if not _had_a_child():
        return
    begun = time.monotonic()
    killed: float | None = None
    asked: set[int] = set()
    doomed: set[int] = set()
    while found := started():
        now = time.monotonic()
        late = now - begun >= TERM_GRACE
        if late:
            killed = killed or now  # not a time from the start: on a busy machine one look may outlast both
            if now - killed > KILL_GRACE and found <= doomed:
                break
            doomed |= found
        for pid in found if late else found - asked:
            try:
                os.kill(pid, SIGKILL if late else SIGTERM)
            except OSError:
                pass  # it has ended, or belongs to another user
        asked |= found
        time.sleep(0.01)


def _had_a_child() -> bool:
    """A thousand workers that all look through /proc at their end would keep each other waiting."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        from resource import RUSAGE_CHILDREN, getrusage  # at the end of a worker only

        return getrusage(RUSAGE_CHILDREN).ru_minflt > 0
    return True


def started() -> set[int]:
    """The live descendants of this process, and all that is in its session or in one of theirs."""
    table = list(processes())
    ours = {os.getpid()}
    while more := {p.pid for p in table if p.parent in ours or p.session in ours} - ours:
        ours |= more
    return ours - {os.getpid()}


def processes() -> Iterator[Process]:
    """Every process of this machine that is not a zombie."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb", buffering=0) as file:
                    stat = file.read()
            except OSError:
                continue  # it has ended meanwhile
            state, parent, group, session = stat.rpartition(b")")[2].split(maxsplit=4)[:4]
            if state not in b"ZX":
                yield Process(int(name), int(parent), int(group), int(session))
