"""Starting a child in a session and process group of its own, waiting for it, and ending it with its group."""

import errno
import os
import shutil
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cached_property
from types import TracebackType
from typing import Protocol

import trio

from ...protocol.errors import EngineFailed, ProcessesLeft, RoostError, TimedOut, WorkspaceInvalid
from ..waiting.guard import guarded
from . import proc
from .launcher import resolved
from .start import start
from .watch import Watch

DRAIN = 1.0
"""Seconds for which the pipes are still read after a child's end: what it started may hold them for ever."""
PARTING = 1.0
"""Seconds given to a child to vanish after SIGKILL, when nobody has the time to wait for it, or to one that is dead."""
HELD = 0.2
"""Seconds between two looks whether a debugger still keeps a dead child from us."""


class Pipe(Protocol):
    """The reader of a pipe of a child."""

    async def wait_ended(self) -> None:
        """Until nothing more will be read."""


class Owner(Protocol):
    """Who is told of each child, and ends what it leaves."""

    watch: Watch

    def prepare(self, command: Sequence[str], cwd: str, env: Mapping[str, str]) -> Sequence[str]:
        """What to start for ``command``. Called in the thread that does it; OSError: the program cannot be started."""
        ...

    def give_up(self) -> None:
        """Nothing of what was prepared is needed any more. Called in the same thread."""

    def own(self, child: "Child") -> None:
        """It was started. Called in the thread that did it, before that thread does anything else."""

    def bury(self, order: "Order") -> trio.Event:
        """End the child that is there or comes, though nobody wants it; set when that is done."""
        ...

    def disown(self, child: "Child") -> None:
        """It is reaped."""

    async def clear(self, child: "Child") -> None:
        """Kill all that it and its descendants started, to the last; ProcessesLeft: that does not succeed."""

    def oom_kills(self) -> int:
        """How many processes the kernel has killed because the limit of memory was reached."""
        ...


class Child:
    """A process that :func:`spawn` started. Whoever has it ends it with :meth:`end` or :meth:`aclose`.

    Its zombie is kept until then, so that its pid, and with it its group's number, is nobody else's.

    Attributes:
        returncode: exit status, or the negative number of the signal it died of; None while nobody saw it end.
        descriptors: our ends of its stdin, stdout and stderr; for who reads them without the streams.
    """

    def __init__(self, pid: int, pidfd: int, pipes: Sequence[int], owner: Owner) -> None:
        self._owner = owner
        self._pidfd = pidfd
        self._ended: trio.Event | None = None
        self._killing: trio.Lock | None = None
        self._reaped = False
        self.returncode: int | None = None
        self.pid = pid
        self.identity = _identity(pid)
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
        """How many of its and its descendants' processes the kernel has killed for want of memory, if it says so."""
        return self._owner.oom_kills()

    async def wait(self) -> int:
        """The returncode, as soon as the child has ended. Any number of tasks may wait."""
        if self.returncode is None:
            if self._ended is None:
                self._ended = trio.Event()
                self._owner.watch.when_readable(self._pidfd, self._has_ended)
            await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def signal_group(self, sig: signal.Signals) -> None:
        """Signal the child and all that stayed in its group; nothing once :meth:`end` has reaped it."""
        if not self._reaped:
            # What has changed its user is not ours to signal, and no reason to spare the others.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.identity.pgid, sig)

    async def end(self, term_grace: float) -> int:
        """Close stdin, SIGTERM to the group, after ``term_grace`` seconds SIGKILL to its whole tree; the returncode.

        Nothing is waited for between the first two: a child that ends with its stdin has had its time before this.
        It returns when a full look finds nothing of the tree. Cancelled, it kills at once. May be repeated.

        Raises:
            ProcessesLeft: something was killed and does not end, or a debugger holds the dead child; it is looked for
                again when this is repeated.
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
            # What is left is told to whoever repeats this: here somebody waits for the cancellation.
            with trio.move_on_after(PARTING, shield=True), suppress(ProcessesLeft, TimedOut):
                await self._killed()
            raise

    async def _killed(self) -> int:
        # One at a time: whoever comes second, when it is reaped, would find the session's next child and kill that.
        self._killing = self._killing or trio.Lock()
        async with self._killing:
            if not self._reaped:
                self.signal_group(signal.SIGKILL)
                # The whole tree, and then the child: it may wait in the kernel for one that is still alive.
                await self._owner.clear(self)
                with trio.move_on_after(PARTING):
                    await self.wait()
                if _returncode(self.pid) is None:  # asked, since a loop that was late may not have heard of it
                    raise _held_back(self.pid)
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
            trio.lowlevel.spawn_system_task(guarded, f"the wait for child {self.pid}", self._let_go, self._ended)
        else:
            self._ended.set()

    async def _let_go(self, ended: trio.Event) -> None:
        # The pidfd does not tell of it: it is readable since the child is dead.
        while self.returncode is None:
            await trio.sleep(HELD)
            self.returncode = _returncode(self.pid)
        ended.set()

    def _reap(self) -> None:
        if self.returncode is not None and not self._reaped:
            self._reaped = True
            self._owner.disown(self)  # before its pid may be another child's
            os.waitpid(self.pid, 0)
            self._owner.watch.forget(self._pidfd)
            os.close(self._pidfd)


async def spawn(
    command: Sequence[str], *, cwd: str, env: Mapping[str, str], limiter: trio.CapacityLimiter, owner: Owner
) -> Child:
    """Start ``command`` with three pipes; ``env`` is all of its environment, and its PATH is searched.

    Cancelled, it comes back soon, even if the file system of ``cwd`` hangs; what still starts is left to the owner.

    Args:
        limiter: how many start at once. Not Trio's own: a stuck start would stop whoever shares it.
        owner: is told of the child.

    Raises:
        EngineFailed: there is no such program, or it cannot be started.
        WorkspaceInvalid: ``cwd`` is no directory, or not to be entered.
        LimitUnenforceable: the owner could not prepare what its limits need.
    """
    order = Order(owner)
    try:
        # No await stands between the process and its owner: the thread leaves it in the order.
        return await trio.to_thread.run_sync(order.fill, command, cwd, env, limiter=limiter, abandon_on_cancel=True)
    except trio.Cancelled:
        if order.withdraw():
            with trio.move_on_after(PARTING, shield=True):
                await owner.bury(order).wait()
        raise


class Order:
    """A child on its way from the thread that starts it to the task that asked for it, unless that has gone.

    Attributes:
        over: the thread has done all it will. child: what it has started, if anything.
    """

    def __init__(self, owner: Owner) -> None:
        self.over = trio.Event()
        self.child: Child | None = None
        self._owner = owner
        self._trio = trio.lowlevel.current_trio_token()
        self._lock = threading.Lock()
        self._begun = self._withdrawn = False

    def fill(self, command: Sequence[str], cwd: str, env: Mapping[str, str]) -> Child:
        with self._lock:
            if self._withdrawn:
                raise RuntimeError("nobody waits for this child any more")
            self._begun = True
        try:
            self.child = self._filled(command, cwd, env)
            return self.child
        finally:
            with suppress(trio.RunFinishedError):
                self._trio.run_sync_soon(self.over.set)

    def withdraw(self) -> bool:
        """Nothing is begun any more. Whether it was, so that a child may be there or come."""
        with self._lock:
            self._withdrawn = True
            return self._begun

    def _filled(self, command: Sequence[str], cwd: str, env: Mapping[str, str]) -> Child:
        with ExitStack() as undo:
            undo.callback(self._owner.give_up)
            try:
                pid, pipes = _started(self._owner.prepare(command, cwd, env), cwd, env)
                child = _adopted(pid, pipes, self._owner)
            except OSError as error:
                raise _explained(error, command[0], cwd, env) from error
            except ValueError as error:
                text = f"cannot start {command[0]}: {error}; its command and environment must be without it"
                raise EngineFailed(text, program=command[0]) from error
            self._owner.own(child)
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


def _adopted(pid: int, pipes: list[int], owner: Owner) -> Child:
    with ExitStack() as undo:
        undo.callback(_discard, pid, pipes)
        pidfd = os.pidfd_open(pid)
        undo.callback(os.close, pidfd)
        child = Child(pid, pidfd, pipes, owner)
        undo.pop_all()
    return child


def _discard(pid: int, pipes: list[int]) -> None:
    os.killpg(pid, signal.SIGKILL)
    for pipe in pipes:
        os.close(pipe)
    # One that hangs in the kernel is a stray when this thread has ended, and is reaped as one. No pidfd is waited for:
    # it may be the descriptor that there is none for.
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
    assert found is not None, "a child that nobody has reaped stands in /proc"
    return proc.Identity.of(found)


def _returncode(pid: int) -> int | None:
    """Of a child that is dead; None: the kernel does not show it to us before a debugger that traces it lets it go."""
    seen = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    if seen is None:
        return None
    return seen.si_status if seen.si_code == os.CLD_EXITED else -seen.si_status


def _held_back(pid: int) -> ProcessesLeft:
    text = f"process {pid} is dead, and a debugger holds it; end the debugger: TracerPid in /proc/{pid}/status"
    return ProcessesLeft(text, pids=[pid])
