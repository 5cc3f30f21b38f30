"""The contract between a session and its engine, whatever the engine's kind."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import trio

from ...protocol import rpc
from ...protocol.errors import EngineFailed, OutOfMemory, ProcessesLeft, RoostError, TimedOut, WorkerExited
from ...protocol.model import Limits, Problem, Session, Turn, TurnState
from ...protocol.worker import MOST_FAILURE, shortened
from ..core.backoff import doubling
from ..core.said import Change
from ..process import launcher
from ..process.processes import Processes
from ..process.spawn import Child
from ..process.stderr import Keep, StderrFiles
from ..process.trees import Root
from ..settings import EngineSettings, Settings
from ..waiting.awaited import Once

log = logging.getLogger(__name__)

T = TypeVar("T")

PARTING = 5.0
"""Seconds in which the rest of a child's tree is cleared away, also when the daemon has no more time."""
AGAIN, LONGEST = 1.0, 30.0
"""Seconds until a tree that did not end is looked at again: doubling from the first to the longest."""
STUCK = (ProcessesLeft, TimedOut)
DYING = 2.0
"""Seconds that a child has to die of SIGKILL and its pipes to be drained; then it counts as hanging."""


class Launch(NamedTuple):
    """The things that an engine needs to start a child of its session.

    Attributes:
        env: the whole environment, secrets resolved.
        state: packed engine state to restore; None if there is none.
        history: the session's last turns, oldest first. interrupted: the turn that was cut off, if one was.
        stderr: the files that keep the stderr of its children.
        limits: the limits of the next child; LimitUnenforceable: it is not to be started without them.
        again: prepares a new launch, with the settings and secrets of then; None: this one holds for every child.
    """

    session: Session
    engine: EngineSettings
    env: Mapping[str, str]
    state: bytes | None
    history: list[dict[str, Any]]
    interrupted: dict[str, Any] | None
    stderr: StderrFiles | None = None
    limits: Callable[[], Limits] = Limits
    again: "Callable[[], Awaitable[Launch]] | None" = None

    async def renewed(self) -> "Launch":
        """The launch for a child that is started now. Raises what preparing it does."""
        return await self.again() if self.again else self

    def keeper(self) -> Keep | None:
        """For the stderr of one child."""
        return None if self.stderr is None else self.stderr.keeper(self.session.id)


@dataclass
class Ended:
    """How a turn ended as the engine tells it. ``engine_state`` None: it was not part of the answer."""

    state: TurnState
    problem: Problem | None = None
    exit_code: int | None = None
    engine_state: bytes | None = None


class Told(NamedTuple):
    """A packed copy of an engine's state. ``answered``: the last turn that the engine had answered by then, if any."""

    state: bytes
    answered: str | None


class Listener(Protocol):
    """The session, as its engine reports to it while a turn runs, and when there is a child."""

    async def said(self, change: Change | None) -> None:
        """The child said something of the running turn; None: only a sign of life. Waits while too much is unsaved."""

    async def waiting(self, answer: Callable[[], Awaitable[T]]) -> T:
        """Run ``answer``, which waits for the world outside; its result.

        The turn waits meanwhile and gives its place back; this returns when the turn runs again, or waits for other
        answers.

        Raises:
            RequestCancelled: the turn is ending.
        """
        ...

    async def spawned(self, root: Root) -> None:
        """A child was started; returns when its record is on disk."""

    async def stuck(self, error: RoostError) -> None:
        """A process of the child's tree does not end although it was killed. Never raises."""

    async def ended_child(self, root: Root) -> None:
        """That child and its whole tree are gone. Never raises."""


class Engine(Protocol):
    """The child of one session. Every method may raise :class:`RoostError`; ``WorkerExited`` when the child is gone."""

    resident: bool
    """It has a child between turns."""
    gone: Once
    """The child has ended and is reaped, or there will never be one."""
    problem: Problem | None
    """Why it ended, if it was not asked to."""

    @property
    def pid(self) -> int | None: ...

    @property
    def saves(self) -> bool:
        """It has a state that can be saved."""
        ...

    async def serve(self, ready: Callable[[], Awaitable[None]]) -> None:
        """Start the child, call ``ready`` when it can run turns, and return when it is gone."""

    async def run(self, turn: Turn) -> Ended:
        """Run one turn to its end."""
        ...

    async def cancel(self, turn: Turn, reason: str) -> None:
        """Ask it to end the turn; returns when it was asked."""

    async def state(self) -> Told:
        """Its state, and the last turn in it."""
        ...

    async def clear(self) -> bytes | None:
        """Empty its state; the packed empty state if it says it."""

    async def end(self) -> None:
        """Ask the child to end, then make it; returns when :attr:`gone`.

        Raises:
            ProcessesLeft, TimedOut: the child, or a process that it started, does not end although it was killed.
        """

    def kill(self) -> None:
        """End it now; :attr:`gone` follows."""


class Grace(NamedTuple):
    """Seconds an engine is given, from the settings."""

    start: float
    stop: float
    term: float
    request: float = 30.0

    @classmethod
    def of(cls, settings: Settings) -> "Grace":
        return cls(settings.limits.start_timeout, settings.sessions.stop_grace, settings.sessions.term_grace)


async def spawned(launch: Launch, command: Sequence[str], processes: Processes, within: float) -> Child:
    """The child of a session, started within so many seconds.

    Raises:
        EngineFailed, WorkspaceInvalid, LimitUnenforceable, TimedOut: it was not.
    """
    session = launch.session
    with trio.move_on_after(within):
        return await processes.spawn(session.id, command, cwd=session.workspace, env=launch.env, limits=launch.limits())
    text = f"{command[0]} was not started within {within:g} s; look at its file system"
    raise TimedOut(text, program=command[0])


async def part(child: Child, listener: Listener, term_grace: float) -> None:
    """End the child and all that is left of its tree, however long that takes. The listener is told of a rest."""
    try:
        await _end(child, listener, term_grace)
    finally:
        with trio.move_on_after(PARTING, shield=True):
            try:
                await child.aclose()
            except STUCK as exc:
                log.error("%s", exc)  # the next daemon finds it recorded
            else:
                await listener.ended_child(child.root)


async def _end(child: Child, listener: Listener, term_grace: float) -> None:
    for pause in doubling(AGAIN, LONGEST):
        try:
            await child.end(term_grace)
            return
        except STUCK as exc:
            await listener.stuck(exc)
        await trio.sleep(pause)


def problem(error: RoostError, **more: Any) -> Problem:
    """An error as it is kept. A child may have said any part of it: it is cut, so that it fits beside any prompt."""
    data = {str(key): value for key, value in (error.data | more).items()}
    if len(rpc.pack(data)) > MOST_FAILURE:
        data = {"truncated": True, **more}
    return Problem(name=error.wire_name, message=shortened(error.message), data=data)


def failed(why: Problem) -> Ended:
    """A turn that failed, with the exit code that its problem tells."""
    code = why.data.get("exit_code")
    return Ended(TurnState.failed, why, code if isinstance(code, int) and of_a_process(code) else None)


def of_a_process(code: int) -> bool:
    """A process can have that exit code."""
    return -(2**31) <= code < 2**31


def died(child: Child, stderr: str) -> Problem:
    """The problem to keep of a child that ended by itself."""
    code = child.returncode
    if why := launcher.refusal(code, stderr):
        text = f"{why}; look at the cgroup of roostd, or set daemon.cgroup"
        return problem(EngineFailed(text, reason=why, pid=child.pid, stderr=stderr))
    how = f"was ended by signal {-code}" if code is not None and code < 0 else f"exited with status {code}"
    data: dict[str, Any] = {"pid": child.pid, "stderr": stderr}
    data |= {"signal": -code} if code is not None and code < 0 else {"exit_code": code}
    last = stderr.strip().splitlines()[-1:] or ["it wrote nothing to stderr"]
    message = f"the session's child {how}: {last[0]}; look at its stderr"
    return starved(problem(WorkerExited(message, **data)), child.oom_kills())


def starved(failure: Problem, kills: int) -> Problem:
    """The same failure, told apart from others if the kernel has killed processes for want of memory."""
    if not kills:
        return failure
    text = f"the kernel killed {kills} of the session's processes at its limit of memory: {failure.message}"
    data = failure.data | {"oom_kills": kills}
    return Problem(name=OutOfMemory.name, message=f"{text}; raise memory_max, or do less at once", data=data)
