"""Orphans come to this process instead of init, and are reaped here when they end."""

import ctypes
import logging
import os
import signal
from collections.abc import Container
from contextlib import suppress

import trio

log = logging.getLogger(__name__)

PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """Descendants of this process whose parent ends become its children from now on (prctl(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        log.error("orphans go to init, not to roostd: %s", os.strerror(ctypes.get_errno()))


class Reaper:
    """Reaps each child of this process that has ended and that no task waits for.

    Args:
        owned: the pids of the children that a task waits for.

    Attributes:
        reaped: how many so far.
    """

    def __init__(self, owned: Container[int]) -> None:
        self.reaped = 0
        self._running = False
        self._owned = owned

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Reap for ever."""
        with trio.open_signal_receiver(signal.SIGCHLD) as ended:
            self._running = True
            task_status.started()
            async for _ in ended:
                self.sweep()

    def count(self) -> int:
        """The number of orphans reaped, with those that have ended just now."""
        if self._running:
            self.sweep()
        return self.reaped

    def sweep(self) -> None:
        """Reap the orphans that have ended.

        No status is taken from the task that waits for it: the kernel gives orphans to the first thread. Children
        of the daemon are started in other threads, where they stay until they are ``owned``, and come into this list
        only when their thread ends.
        """
        before = -1
        while before != self.reaped:
            before = self.reaped
            for pid in strays(self._owned):
                with suppress(ChildProcessError):  # the orphan is not in the list any more
                    if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG):
                        self.reaped += 1


def strays(owned: Container[int]) -> list[int]:
    """The pids of the orphans that have come to this process, dead or alive."""
    me = os.getpid()
    try:
        with open(f"/proc/self/task/{me}/children", "rb", buffering=0) as file:
            return [pid for pid in map(int, file.readall().split()) if pid not in owned]
    except (
        OSError
    ):  # no descriptor is free: they are reaped with the next; no CONFIG_PROC_CHILDREN: at this process's end
        return []
