"""An engine whose child stays between turns: the life of that child, whatever protocol it speaks."""

import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from ...protocol.errors import RoostError, WorkerExited, WorkerViolation, from_wire
from ...protocol.model import Problem, Turn
from ..process.processes import Processes
from ..process.spawn import Child
from ..process.stdio import Stdio
from ..waiting.awaited import Once
from .dialect import Speaks
from .engine import DYING, Ended, Grace, Launch, Listener, Told, died, failed, part, problem, spawned, starved

NEAR_END = 1.0
"""Seconds within which a child that closed a pipe is expected to end: most often it is dying."""


class Resident:
    """One child and its dialect."""

    resident = True

    def __init__(self, launch: Launch, listener: Listener, grace: Grace, processes: Processes, speaks: Speaks) -> None:
        self.gone = Once()
        self.problem: Problem | None = None
        self._launch: Launch | None = launch  # until the child is ready: it may be large, or secret
        self._listener = listener
        self._grace = grace
        self._processes = processes
        self._dialect = speaks(launch, listener, grace, self)
        self._child: Child | None = None
        self._pipes: Stdio | None = None
        self._attending = trio.CancelScope()
        self._asked_to_end = False
        self._failed: RoostError | None = None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    @property
    def saves(self) -> bool:
        return self._dialect.saves

    async def serve(self, ready: Callable[[], Awaitable[None]]) -> None:
        launch = self._launch
        assert launch is not None, "it is served once"
        try:
            command = launch.engine.command
            child = self._child = await spawned(launch, command, self._processes, self._grace.start)
            try:
                if not self._asked_to_end:
                    await self._listener.spawned(child.root)
                    await self._attended(child, launch, ready)
            finally:
                self._dialect.line.close()
                await part(child, self._listener, self._grace.term if self._asked_to_end else 0)
        finally:
            self.gone.set()
        if self._failed is not None or self._launch is not None:
            raise self._failed or self.lost()

    async def _attended(self, child: Child, launch: Launch, ready: Callable[[], Awaitable[None]]) -> None:
        """Until the child has ended and its pipes are drained. No task of it lives while nothing happens."""
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = self._attending.deadline
            self._attending = nursery.cancel_scope
            start, watch = nursery.start_soon, self._processes.watch
            pipes = Stdio(child, watch, start, self._heard, deaf=self._deaf, keep=launch.keeper())
            with pipes:
                self._pipes = pipes
                self._dialect.line.begin(pipes.send, start)
                start(self._begin, launch, ready)
                del launch
                await pipes.drained()
            if not self._asked_to_end and self.problem is None:
                self.problem = died(child, pipes.stderr())
            self._dialect.line.close()
            self._attending.cancel()

    async def _begin(self, launch: Launch, ready: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._dialect.greet(launch)
            self._launch = None
            await ready()
        except RoostError as exc:
            self._refuse(exc)
            self._failed = exc
            self._attending.cancel()

    async def _heard(self, piece: bytes) -> bool:
        """Take in what the child says; True: it is not listened to any more."""
        try:
            if piece:
                await self._dialect.line.hear(piece)
                return False
            await self._closed("stdout")
        except WorkerViolation as exc:
            self.broken(exc)
        except RoostError:
            pass  # it is gone, or it cannot be answered any more
        return True

    async def _deaf(self) -> None:
        await self._closed("stdin")

    async def _closed(self, pipe: str) -> None:
        """The child closed a pipe that it needs; a child that goes on without it is ended."""
        child = self._child
        assert child is not None
        with trio.move_on_after(NEAR_END):
            await child.wait()
            return
        text = f"the session's child closed its {pipe} and did not end; a worker must keep its pipes"
        self.broken(WorkerViolation(text, pid=child.pid))

    def _refuse(self, exc: RoostError) -> None:
        """The child broke a rule: it is not spoken with again."""
        if self.problem is None and not self._asked_to_end:
            self.problem = problem(exc, stderr=self._pipes.stderr() if self._pipes else "")

    def broken(self, breach: WorkerViolation) -> None:
        """The child is killed; a child that was asked to end keeps the time that it was given."""
        if not self._asked_to_end:
            self._refuse(breach)
            self.kill()

    def lost(self) -> RoostError:
        if self.problem is None:
            return WorkerExited("the session's child was ended; start it again", pid=self.pid)
        return from_wire(self.problem.to_wire())

    async def run(self, turn: Turn) -> Ended:
        before = self._oom_kills
        try:
            ended = await self._dialect.run(turn)
        except (WorkerExited, WorkerViolation) as exc:
            await self.gone.wait()
            return failed(self.problem or problem(exc))
        except RoostError as exc:
            return failed(problem(exc))
        finally:
            self._dialect.line.withdraw()
        if ended.problem is not None:
            # The child lives; a process that it ran for this turn may not.
            ended.problem = starved(ended.problem, self._oom_kills - before)
        return ended

    @property
    def _oom_kills(self) -> int:
        return self._child.oom_kills() if self._child else 0

    async def cancel(self, turn: Turn, reason: str) -> None:
        await self._dialect.cancel(turn, reason)

    async def state(self) -> Told:
        return await self._dialect.state()

    async def clear(self) -> bytes | None:
        return await self._dialect.clear()

    async def end(self) -> None:
        self._asked_to_end = True
        child = self._child
        if child is not None and self._launch is None and not self.gone.is_set():
            with trio.move_on_after(self._grace.stop):
                with suppress(RoostError):  # whatever it answers, and if it does not: next its stdin ends
                    await self._dialect.dismiss(self._grace.stop / 2)
                child.stdin.close()
                await self.gone.wait()
        if child is not None and not self.gone.is_set():
            await child.end(self._grace.term)
        await self.gone.wait()

    def kill(self) -> None:
        self._asked_to_end = self._asked_to_end or self.problem is None
        if self._child is not None:
            self._child.signal_group(signal.SIGKILL)
            # A child that hangs in the kernel does not die of it: then its end is the next step, which says so.
            self._attending.deadline = min(self._attending.deadline, trio.current_time() + DYING)
