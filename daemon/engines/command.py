"""Engine kind ``command``: a program per turn. Its output is an agent message, its exit status decides."""

import codecs
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from ...protocol.errors import NotSupported, RoostError
from ...protocol.model import ItemKind, ItemState, Problem, Turn, TurnState, new_id
from ..core.said import Append, End, Start
from ..process.processes import Processes
from ..process.spawn import Child
from ..process.stdio import Stdio
from ..waiting.awaited import Once
from .engine import DYING, Ended, Grace, Launch, Listener, Told, died, part, problem, spawned


class CommandEngine:
    """An engine without a child between turns, and without a state."""

    resident = False
    saves = False

    def __init__(self, launch: Launch, listener: Listener, grace: Grace, processes: Processes) -> None:
        self.gone = Once()
        self.problem: Problem | None = None
        self._launch = launch
        self._listener = listener
        self._grace = grace
        self._processes = processes
        self._child: Child | None = None
        self._spawning = trio.CancelScope()
        self._attending = trio.CancelScope()

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    async def serve(self, ready: Callable[[], Awaitable[None]]) -> None:
        await ready()
        await self.gone.wait()

    async def run(self, turn: Turn) -> Ended:
        try:
            child = await self._spawned(turn)
            return await self._attended(child, turn) if child else Ended(TurnState.cancelled)
        except RoostError as exc:
            return Ended(TurnState.failed, problem(exc))
        finally:
            self._child = None
            self._spawning, self._attending = trio.CancelScope(), trio.CancelScope()

    async def _spawned(self, turn: Turn) -> Child | None:
        """The program; None if the turn was cancelled before it ran."""
        with self._spawning:
            launch = self._launch = await self._launch.renewed()
            command = launch.engine.command if self._by_stdin else [*launch.engine.command, turn.input]
            self._child = await spawned(launch, command, self._processes, self._grace.start)
        return self._child

    @property
    def _by_stdin(self) -> bool:
        return self._launch.engine.prompt == "stdin"

    async def _attended(self, child: Child, turn: Turn) -> Ended:
        stderr = ""
        try:
            await self._listener.spawned(child.root)
            with self._attending:
                stderr = await self._attend(child, turn)
        finally:
            await part(child, self._listener, 0)
        if child.returncode == 0:
            return Ended(TurnState.completed, exit_code=0)
        failure = died(child, stderr)
        if failure.name == "worker_exited":
            failure = failure.model_copy(update={"name": "turn_failed"})
        return Ended(TurnState.failed, failure, child.returncode)

    async def _attend(self, child: Child, turn: Turn) -> str:
        """Feed the program its prompt and report its output until it has ended; the end of its stderr."""
        output = _Output(self._listener)
        await output.begin()
        async with trio.open_nursery() as nursery:
            start, keep = nursery.start_soon, self._launch.keeper()
            with Stdio(child, self._processes.watch, start, output.take, keep=keep) as pipes:
                with suppress(trio.BrokenResourceError):  # a program that does not read its prompt is not wrong
                    if self._by_stdin and turn.input:
                        await pipes.send(turn.input.encode())
                    await pipes.finish()
                await pipes.drained()
            nursery.cancel_scope.cancel()
        await output.end()
        return pipes.stderr()

    async def cancel(self, turn: Turn, reason: str) -> None:
        self._signal(signal.SIGTERM)

    async def state(self) -> Told:
        raise self._stateless()

    async def clear(self) -> bytes | None:
        raise self._stateless()

    def _stateless(self) -> NotSupported:
        name = self._launch.session.engine
        return NotSupported(f"engine {name} is of kind command: it has no state", engine=name)

    async def end(self) -> None:
        try:
            if self._child is not None:
                await self._child.end(self._grace.term)
        finally:
            self._spawning.cancel()
            self.gone.set()  # even if something of this turn does not end: there will be no other turn

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        # A program that hangs in the kernel does not die of it: then its end is the next step, which says so.
        self._attending.deadline = min(self._attending.deadline, trio.current_time() + DYING)

    def _signal(self, sig: signal.Signals) -> None:
        """To the program; a program that is not started yet is not started."""
        if self._child is None:
            self._spawning.cancel()
        else:
            self._child.signal_group(sig)


class _Output:
    """The output of a program as one item."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._item = new_id("i")
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    async def begin(self) -> None:
        await self._listener.said(Start(self._item, ItemKind.agent_message, "", {}))

    async def take(self, piece: bytes) -> None:
        """Report a piece; b"": the end, and what is left of a character."""
        if text := self._decoder.decode(piece, not piece):
            await self._listener.said(Append(self._item, text))

    async def end(self) -> None:
        await self.take(b"")
        await self._listener.said(End(self._item, ItemState.completed, {}))
