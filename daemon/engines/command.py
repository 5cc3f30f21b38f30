"""Engine kind ``command``: a program per turn. Its output is an agent message, its exit status decides."""

import codecs
import signal
from collections.abc import Awaitable, Callable

import trio

from ...protocol.errors import NotSupported, RoostError, TimedOut
from ...protocol.model import ItemKind, ItemState, Problem, Turn, TurnState, new_id
from ..core.said import Append, End, Start
from ..process.processes import Processes
from ..process.spawn import Child
from .engine import DYING, Ended, Grace, Launch, Listener, Told, died, part, problem
from .tail import Tail


class CommandEngine:
    """It has no child between turns, and no state."""

    resident = False
    saves = False

    def __init__(self, launch: Launch, listener: Listener, grace: Grace, processes: Processes) -> None:
        self.gone = trio.Event()
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
        with trio.move_on_after(self._grace.start) as slow, self._spawning:
            launch = self._launch = await self._launch.renewed()
            command = launch.engine.command if self._by_stdin else [*launch.engine.command, turn.input]
            self._child = await self._processes.spawn(
                launch.session.id, command, cwd=launch.session.workspace, env=launch.env, limits=launch.limits()
            )
        if slow.cancelled_caught:
            program = self._launch.engine.command[0]
            text = f"{program} was not started within {self._grace.start:g} s; look at its file system"
            raise TimedOut(text, program=program)
        return self._child

    @property
    def _by_stdin(self) -> bool:
        return self._launch.engine.prompt == "stdin"

    async def _attended(self, child: Child, turn: Turn) -> Ended:
        stderr = Tail(self._launch.keeper())
        prompt = turn.input.encode() if self._by_stdin else b""
        try:
            await self._listener.spawned(child.root)
            with self._attending:
                await child.until_drained(lambda: self._attend(child, stderr, prompt))
                await child.wait()
        finally:
            await part(child, self._listener, 0)
        if child.returncode == 0:
            return Ended(TurnState.completed, exit_code=0)
        failure = died(child, stderr.text())
        if failure.name == "worker_exited":
            failure = failure.model_copy(update={"name": "turn_failed"})
        return Ended(TurnState.failed, failure, child.returncode)

    async def _attend(self, child: Child, stderr: Tail, prompt: bytes) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stderr.fill, child.stderr)
            nursery.start_soon(self._stream, child)
            nursery.start_soon(_feed, child, prompt)

    async def _stream(self, child: Child) -> None:
        item = new_id("i")
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        await self._listener.heard(Start(item, ItemKind.agent_message, "", {}))
        try:
            while data := await child.stdout.receive_some(65536):
                if text := decoder.decode(bytes(data)):
                    await self._listener.heard(Append(item, text))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the child is being ended
        if text := decoder.decode(b"", True):
            await self._listener.heard(Append(item, text))
        await self._listener.heard(End(item, ItemState.completed, {}))

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
            self.gone.set()  # whatever of this turn's does not end: there will be no other

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        # One that hangs in the kernel does not die of it: then its end is the next step, which says so.
        self._attending.deadline = min(self._attending.deadline, trio.current_time() + DYING)

    def _signal(self, sig: signal.Signals) -> None:
        """To the program; one that is not started yet is not started."""
        if self._child is None:
            self._spawning.cancel()
        else:
            self._child.signal_group(sig)


async def _feed(child: Child, data: bytes) -> None:
    """Write the prompt and close: a program that does not read it is not wrong."""
    try:
        if data:
            await child.stdin.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    await child.stdin.aclose()
