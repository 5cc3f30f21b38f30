"""One command line run by a shell, in a process group of its own: its output as it comes, its exit status, its end."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable

from .ending import SIGKILL, SIGTERM, processes

SIGPIPE, SIGXFSZ = 13, 25
PIECE = 65536
TERM_GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL when the command is cancelled."""
DRAIN = 1.0
"""Seconds for which output is taken after the shell has ended, at most, ..."""
SILENCE = 0.3
"""... and seconds without any that end the taking: a background job may hold the pipe for ever."""


class Command:
    """A running command line. Its stdin is /dev/null, its stdout and stderr are one stream.

    Args:
        argv: the program, looked up in PATH, and its arguments.
        environment: all of it.
        cancel: a descriptor; the command is asked to end, later made to, when that can be read.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, argv: list[str | bytes], environment: dict[bytes, bytes], cancel: int) -> None:
        self._output, writing = os.pipe()
        try:
            self._pid = _spawn(argv, environment, writing)
        except OSError:
            os.close(self._output)
            raise
        finally:
            os.close(writing)
        self._leader = os.pidfd_open(self._pid)
        self._cancel = cancel
        self._poll = select.poll()
        for descriptor in (self._output, self._leader, self._cancel):
            self._poll.register(descriptor, select.POLLIN)
        self._drained = False
        self._ended_at = self._kill_at = float("inf")

    def run(self, write: Callable[[bytes], object]) -> int:
        """Hand its output to ``write`` until it has ended; its exit status, 128 + n if signal n ended it.

        What it left in the background runs on; what that still writes is read and dropped.
        """
        while not self._step(write):
            pass
        if self._kill_at < float("inf"):  # cancelled: what forks all the time can hide from the look that found none
            self._signal(SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        os.close(self._leader)
        if self._drained:
            os.close(self._output)
        else:
            threading.Thread(target=_drop, args=(self._output,), name="roost-late-output", daemon=True).start()
        return code if code >= 0 else 128 - code

    def _step(self, write: Callable[[bytes], object]) -> bool:
        """Wait for one thing to happen; is it all over?"""
        ready = {descriptor for descriptor, _ in self._poll.poll(self._patience())}
        if self._output in ready:
            self._read(write)
        if self._leader in ready:
            self._poll.unregister(self._leader)
            self._ended_at = time.monotonic()
        if self._cancel in ready:
            self._poll.unregister(self._cancel)
            self._signal(SIGTERM)
            self._kill_at = time.monotonic() + TERM_GRACE
        if time.monotonic() >= self._kill_at:
            self._signal(SIGKILL)
            self._kill_at = float("inf")
        return self._over(silent=not ready)

    def _signal(self, number: int) -> None:
        """To the whole group. Its leader is not reaped yet, so that the group's number is still its own."""
        try:
            os.killpg(self._pid, number)
        except PermissionError:
            pass  # it has become another user's (exec sudo): roostd sees to it

    def _patience(self) -> float | None:
        """Milliseconds until something is due though nothing happens."""
        if self._ended_at < float("inf"):
            return SILENCE * 1000
        due = self._kill_at - time.monotonic()
        return max(0, due) * 1000 if due < float("inf") else None

    def _over(self, silent: bool) -> bool:
        if self._ended_at == float("inf"):
            return False
        if self._kill_at < float("inf"):  # cancelled, and the rest of the group has its grace
            return not any(process.group == self._pid for process in processes())
        return self._drained or silent or time.monotonic() >= self._ended_at + DRAIN

    def _read(self, write: Callable[[bytes], object]) -> None:
        data = os.read(self._output, PIECE)
        if data:
            write(data)
        else:
            self._poll.unregister(self._output)
            self._drained = True


def _spawn(argv: list[str | bytes], environment: dict[bytes, bytes], output: int) -> int:
    """Its pid. Descriptors but 0 (the worker's own is /dev/null), 1 and 2 are close-on-exec."""
    return os.posix_spawnp(
        argv[0],
        argv,
        environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)],
        setpgroup=0,
        setsigdef=[SIGPIPE, SIGXFSZ],  # Python ignores them
    )


def _drop(output: int) -> None:
    """Read to the end, so that a background job neither stops at a full pipe nor dies of SIGPIPE."""
    while os.read(output, PIECE):
        pass
    os.close(output)
