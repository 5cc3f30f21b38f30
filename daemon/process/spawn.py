"""Starting a child in a session and process group of its own, waiting for it, and ending it with its group."""

import errno
import logging
import os
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cached_property
from types import TracebackType
from typing import Protocol

import trio

from ...protocol.errors import EngineFailed, ProcessesLeft, RoostError, TimedOut, WorkspaceInvalid
from ..waiting.awaited import Once
from . import proc
from .launcher import resolved
from .proc import Tree
from .start import start
from .trees import Root
from .watch import Watch

log = logging.getLogger(__name__)

DRAIN = 1.0
"""Seconds for which the pipes are still read after a child's end: processes that it started may hold them for ever."""
PARTING = 1.0
"""Seconds given to a child to vanish after SIGKILL, where no task has the time to wait for it."""
HELD = 0.2
"""Seconds between two looks whether a debugger still holds a dead child."""


class Pipe(Protocol):
    """The reader of a pipe of a child."""

    async def wait_ended(self) -> None:
        """Until nothing more will be read."""


class Guardian(Protocol):
    """The guardian of one child: it is told of the child, and ends all that the child leaves."""

    watch: Watch
    tree: Tree

    def prepare(self, command: Sequence[str], cwd: str, env: Mapping[str, str]) -> Sequence[str]:
        """The command to start in place of ``command``. Called in the thread that starts it.

        Raises:
            OSError: the program cannot be started.
        """
        ...

    def give_up(self) -> None:
        """Undo what was prepared. Called in the same thread."""

    def own(self, child: "Child") -> None:
        """The child was started. Called in the thread that did it, before that thread does anything else."""

    def disown(self, child: "Child") -> None:
        """The child is reaped."""

    async def clear(self, child: "Child") -> None:
        """Kill all that the child and its descendants started, to the last.

        Raises:
            ProcessesLeft, TimedOut: that does not succeed.
        """

    def oom_kills(self) -> int:
        """The number of processes that the kernel has killed because the limit of memory was reached."""
        ...


class Child:
    """A process that :func:`begin` started. The task that has it ends it with :meth:`end` or :meth:`aclose`.

    Its zombie is kept until then, so that no other process is given its pid, which is its group's number too.

    Attributes:
        returncode: exit status, or the negative number of the signal that ended it; None while its end was not seen.
        root: the facts by which a next daemon finds it and its tree.
        descriptors: our ends of its stdin, stdout and stderr; for readers that do without the streams.
    """

    def __init__(self, pid: int, pidfd: int, pipes: Sequence[int], guardian: Guardian) -> None:
        self._guardian = guardian
        self._pidfd = pidfd
        self._ended: Once | None = None
        self._killing: trio.Lock | None = None
        self._reaped = False
        self.returncode: int | None = None
        self.pid = pid
        self.identity = _identity(pid)
        self.root = Root(*guardian.tree, self.identity)
        self.descriptors = tuple(pipes)

    def __repr__(self) -> str:
        return f"<Child pid={self.pid} returncode={self.returncode}>"

    @cached_property
    def stdin(self) -> trio.lowlevel.FdStream:
        return trio.lowlevel.FdStream(self.descriptors[0])

    @cached_property
    def stdout(self) -> trio.lowlevel.FdStream:
        return trio.lowlevel.FdStream(self.descriptors[1])

    @cached_property
    def stderr(self) -> trio.lowlevel.FdStream:
        return trio.lowlevel.FdStream(self.descriptors[2])

    async def __aenter__(self) -> "Child":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def oom_kills(self) -> int:
        """The number of processes of its tree that the kernel has killed for want of memory, where it counts."""
        return self._guardian.oom_kills()

    async def wait(self) -> int:
        """The returncode, as soon as the child has ended. Any number of tasks may wait."""
        if self.returncode is None:
            if self._ended is None:
                self._ended = Once()
                self._guardian.watch.when_readable(self._pidfd, self._has_ended)
            await self._ended.wait()
            while self.returncode is None:  # the pidfd does not tell when a debugger lets it go
                await trio.sleep(HELD)
                self.returncode = _returncode(self.pid)
        return self.returncode

    def signal_group(self, sig: signal.Signals) -> None:
        """Signal the child and all that stayed in its group; nothing once :meth:`end` has reaped it."""
        if not self._reaped:
            # A process that has changed its user may not be signalled, which is no reason to spare the others.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.identity.pgid, sig)

    async def end(self, term_grace: float) -> int:
        """Close stdin, SIGTERM to the group, after ``term_grace`` seconds SIGKILL to its whole tree; the returncode.

        Nothing is waited for between the first two: a child that ends with its stdin has had its time before this.
        It returns when a full look finds nothing of the tree. Cancelled, it kills at once. May be repeated.

        Raises:
            ProcessesLeft: a process was killed and does not end, or a debugger holds the dead child; it is looked for
                again when this is repeated.
            TimedOut: /proc does not answer.
        """
        if self._reaped:
            assert self.returncode is not None
            return self.returncode
        try:
            self.stdin.close()
            self.signal_group(signal.SIGTERM)
            with trio.move_on_after(term_grace):
                await self.wait()
            return await self._killed()
        except trio.Cancelled:
            # Processes that are left are told when this is repeated: here a task waits for the cancellation.
            with trio.move_on_after(PARTING, shield=True), suppress(ProcessesLeft, TimedOut):
                await self._killed()
            raise

    async def _killed(self) -> int:
        # One at a time: a second task would signal the pid when it may be another process's.
        self._killing = self._killing or trio.Lock()
        async with self._killing:
            if not self._reaped:
                self.signal_group(signal.SIGKILL)
                # The whole tree, and then the child: it may wait in the kernel for one that is still alive.
                await self._guardian.clear(self)
                with trio.move_on_after(PARTING):
                    await self.wait()
                if _returncode(self.pid) is None:  # asked, since a loop that was late may not have been told of it
                    text = f"process {self.pid} was killed and is not gone; look at what holds it, as a debugger does"
                    raise ProcessesLeft(text, pids=[self.pid])
                self.returncode = await self.wait()
                self._reap()
        assert self.returncode is not None
        return self.returncode

    async def drained(self, *pipes: Pipe) -> None:
        """Until it has ended, and each of its ``pipes`` has, for which :data:`DRAIN` seconds are given."""
        await self.wait()
        with trio.move_on_after(DRAIN):
            for pipe in pipes:
                await pipe.wait_ended()

    async def aclose(self) -> None:
        """Kill the group if the child is still there, and close the pipes."""
        try:
            await self.end(0)
        finally:
            for pipe in (self.stdin, self.stdout, self.stderr):
                pipe.close()

    def _has_ended(self) -> None:
        assert self._ended is not None
        self.returncode = _returncode(self.pid)
        if self.returncode is None:
            log.warning("child %d is dead, and a debugger holds it: TracerPid in /proc/%d/status", self.pid, self.pid)
        self._ended.set()

    def _reap(self) -> None:
        if self.returncode is not None and not self._reaped:
            self._reaped = True
            self._guardian.disown(self)  # before its pid may be another child's
            os.waitpid(self.pid, 0)
            self._guardian.watch.forget(self._pidfd)
            os.close(self._pidfd)


def begin(command: Sequence[str], cwd: str, env: Mapping[str, str], guardian: Guardian) -> Child:
    """Start ``command`` with three pipes; ``env`` is all of its environment, and its PATH is searched. Blocking.

    Raises:
        EngineFailed: there is no such program, or it cannot be started.
        WorkspaceInvalid: ``cwd`` is no directory, or not to be entered.
        LimitUnenforceable: the guardian could not prepare what the limits need.
        ProcessesLeft: leftovers do not let the guardian prepare that.
    """
    with ExitStack() as undo:
        undo.callback(guardian.give_up)
        try:
            pid, pipes = _started(guardian.prepare(command, cwd, env), cwd, env)
            child = _adopted(pid, pipes, guardian)
        except OSError as error:
            raise _explained(error, command[0], cwd, env) from error
        except ValueError as error:
            text = f"cannot start {command[0]}: {error}; its command and environment must be without it"
            raise EngineFailed(text, program=command[0]) from error
        guardian.own(child)
        undo.pop_all()
        return child


def _started(command: Sequence[str], cwd: str, env: Mapping[str, str]) -> tuple[int, list[int]]:
    """The pid, and our ends of its pipes."""
    ours: list[int] = []
    theirs: list[int] = []
    with ExitStack() as undo, ExitStack() as started:
        for name in ("stdin", "stdout", "stderr"):
            read, write = os.pipe()
            mine, its = (write, read) if name == "stdin" else (read, write)
            ours.append(mine)
            theirs.append(its)
            undo.callback(os.close, mine)
            started.callback(os.close, its)
        program = command[0] if "/" in command[0] else resolved(command[0], cwd, env)
        pid = start(program, command, cwd=cwd, env=env, pipes=theirs)
        undo.pop_all()
    return pid, ours


def _adopted(pid: int, pipes: list[int], guardian: Guardian) -> Child:
    with ExitStack() as undo:
        undo.callback(_discard, pid, pipes)
        pidfd = os.pidfd_open(pid)
        undo.callback(os.close, pidfd)
        child = Child(pid, pidfd, pipes, guardian)
        undo.pop_all()
    return child


def _discard(pid: int, pipes: list[int]) -> None:
    os.killpg(pid, signal.SIGKILL)
    for pipe in pipes:
        os.close(pipe)
    # A child that hangs in the kernel is a stray when this thread has ended, and is reaped as such. No pidfd is waited
    # for: there may be no descriptor for it.
    deadline = time.monotonic() + PARTING
    while not os.waitpid(pid, os.WNOHANG)[0] and time.monotonic() < deadline:
        time.sleep(0.001)


def _explained(error: OSError, program: str, cwd: str, env: Mapping[str, str]) -> RoostError:
    if not (os.path.isdir(cwd) and os.access(cwd, os.X_OK)):
        text = f"the workspace {cwd} cannot be entered: {error.strerror}; name a directory that can"
        return WorkspaceInvalid(text, workspace=cwd, reason=error.strerror)
    reason, advice = error.strerror, "correct the engine's command"
    if error.errno == errno.E2BIG:
        advice = 'give the prompt by stdin (prompt = "stdin"), or shorten the environment'
    elif error.errno in (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM):
        advice = "stop sessions, or raise the limits of the daemon"
    elif error.errno == errno.ENOENT and shutil.which(program, path=env.get("PATH")):
        reason = "the interpreter in its first line does not exist"
    return EngineFailed(f"cannot start {program}: {reason}; {advice}", program=program, reason=reason)


def _identity(pid: int) -> proc.Identity:
    found = proc.stat(pid)
    assert found is not None, "a child that is not reaped stands in /proc"
    return proc.Identity.of(found)


def _returncode(pid: int) -> int | None:
    """The returncode of a dead child; None: it lives, or a debugger traces it and has not let it go."""
    seen = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    if seen is None:
        return None
    return seen.si_status if seen.si_code == os.CLD_EXITED else -seen.si_status
