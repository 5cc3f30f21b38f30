"""Engine kind ``worker``: a child that lives between turns and speaks the worker protocol on its stdin and stdout."""

import logging
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import trio

from ...protocol import rpc
from ...protocol import worker as wire
from ...protocol.errors import (
    LimitReached,
    NotSupported,
    RoostError,
    TimedOut,
    TurnFailed,
    WorkerExited,
    WorkerViolation,
    from_wire,
)
from ...protocol.model import ItemKind, ItemState, Problem, Turn, TurnState, new_id
from ..core.said import Append, End, Start
from ..process.processes import Processes
from ..process.spawn import Child
from .engine import DYING, Ended, Grace, Launch, Listener, Told, died, part, problem, starved
from .heard import Translator
from .inlet import Inlet
from .line import Line
from .tail import Tail

log = logging.getLogger(__name__)

NEAR_END = 1.0
"""Seconds within which a child that closed a pipe is expected to end: most often it is dying."""


class WorkerEngine:
    """One worker process."""

    resident = True

    def __init__(self, launch: Launch, listener: Listener, grace: Grace, processes: Processes) -> None:
        self.gone = trio.Event()
        self.problem: Problem | None = None
        self._session, self._engine = launch.session.id, launch.session.engine
        self._launch = launch
        self._listener = listener
        self._grace = grace
        self._processes = processes
        self._line = Line(self._told, self._lost, self._broken)
        self._capabilities: frozenset[str] = frozenset()
        self._translator: Translator | None = None
        self._stderr = Tail(launch.keeper())
        self._child: Child | None = None
        self._attending = trio.CancelScope()
        self._asked_to_end = False
        self._ready = False
        self._answered: str | None = None
        self._failed: RoostError | None = None

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    @property
    def saves(self) -> bool:
        return "checkpoint" in self._capabilities

    async def serve(self, ready: Callable[[], Awaitable[None]]) -> None:
        try:
            child = self._child = await self._spawned()
            try:
                if not self._asked_to_end:
                    await self._listener.spawned(child.root)
                    await self._attended(child, ready)
            finally:
                await self._part(child)
        finally:
            self.gone.set()
        if self._failed is not None or not self._ready:
            raise self._failed or self._lost()

    async def _spawned(self) -> Child:
        launch = self._launch
        with trio.move_on_after(self._grace.start):
            return await self._processes.spawn(
                launch.session.id,
                launch.engine.command,
                cwd=launch.session.workspace,
                env=launch.env,
                limits=launch.limits(),
            )
        program = launch.engine.command[0]
        text = f"{program} was not started within {self._grace.start:g} s; look at its file system"
        raise TimedOut(text, program=program)

    async def _attended(self, child: Child, ready: Callable[[], Awaitable[None]]) -> None:
        """Until the child has ended and its pipes are drained. No task of it lives while nothing happens."""
        async with trio.open_nursery() as nursery:
            nursery.cancel_scope.deadline = self._attending.deadline
            self._attending = nursery.cancel_scope
            watch, start = self._processes.watch, nursery.start_soon
            _, out, err = child.descriptors
            with (
                Inlet(out, watch, start, self._heard, self._line.awaits) as stdout,
                Inlet(err, watch, start, self._stderr.take) as stderr,
            ):
                self._line.begin(child.stdin, self._deaf, start)
                start(self._begin, ready)
                await child.drained(stdout, stderr)
            if not self._asked_to_end and self.problem is None:
                self.problem = died(child, self._stderr.text())
            self._line.close()
            self._attending.cancel()

    async def _begin(self, ready: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._initialize()
            self._ready = True
            del self._launch  # what it was started with may be large, or secret
            await ready()
        except RoostError as exc:
            self._refuse(exc)
            self._failed = exc
            self._attending.cancel()

    async def _part(self, child: Child) -> None:
        """End the child, and all that is left of its tree."""
        self._line.close()
        await part(child, self._listener, self._grace.term if self._asked_to_end else 0)

    async def _heard(self, piece: bytes) -> bool:
        """Take in what the child says; True: it is not listened to any more."""
        try:
            if piece:
                await self._line.hear(piece)
                return False
            await self._closed("stdout")
        except WorkerViolation as exc:
            self._broken(exc)
        except RoostError:
            pass  # it is gone, or it cannot be answered any more
        return True

    async def _deaf(self) -> None:
        await self._closed("stdin")

    async def _closed(self, pipe: str) -> None:
        """The child closed a pipe that it needs; one that goes on without is ended."""
        child = self._child
        assert child is not None
        with trio.move_on_after(NEAR_END):
            await child.wait()
            return
        text = f"the session's child closed its {pipe} and did not end; a worker must keep its pipes"
        self._broken(WorkerViolation(text, pid=child.pid))

    def _refuse(self, exc: RoostError) -> None:
        """The child said what it must not: it is not spoken with again."""
        if self.problem is None and not self._asked_to_end:
            self.problem = problem(exc, stderr=self._stderr.text())

    def _broken(self, breach: WorkerViolation) -> None:
        """It is killed; one that was asked to end keeps the time that it was given."""
        if not self._asked_to_end:
            self._refuse(breach)
            self.kill()

    async def _told(self, method: str, params: dict[str, Any]) -> None:
        if self._translator is None:
            log.debug("%s: %s after its turn", self._session, method)
        else:
            await self._listener.heard(self._translator.change(method, params))

    def _lost(self) -> RoostError:
        if self.problem is None:
            return WorkerExited("the session's child was ended; start it again", pid=self.pid)
        return from_wire(self.problem.to_wire())

    async def _initialize(self) -> None:
        launch = self._launch
        params: dict[str, Any] = {
            "protocol": wire.PROTOCOL,
            "session": launch.session.id,
            "workspace": launch.session.workspace,
            "history": launch.history,
            "limits": {"frame": self._line.limits.frame, "nesting": self._line.limits.nesting},
        }
        if launch.state is not None:
            params["state"] = rpc.unpack(launch.state)
        if launch.interrupted is not None:
            params["interrupted"] = launch.interrupted
        result = await self._line.call("initialize", params, self._grace.start)
        if result["protocol"] != wire.PROTOCOL:
            text = f"the worker speaks protocol {result['protocol']}, roostd speaks {wire.PROTOCOL}; update the worker"
            raise WorkerViolation(text, protocol=result["protocol"])
        self._capabilities = frozenset(str(name) for name in result["capabilities"])

    async def run(self, turn: Turn) -> Ended:
        self._translator = Translator()
        before = self._oom_kills

        def heard() -> None:
            self._answered = turn.id

        try:
            params = {"turn": turn.id, "number": turn.number, "input": turn.input}
            result = await self._line.call("turn.run", params, heard=heard)
        except (WorkerExited, WorkerViolation) as exc:
            await self.gone.wait()
            return _failed(self.problem or problem(exc))
        except RoostError as exc:
            return _failed(problem(exc))
        finally:
            self._translator = None
        ended = _ended(result, await self._kept(result))
        if ended.state is TurnState.failed and ended.problem is not None:
            # The worker lives, what it ran for this turn may not.
            ended.problem = starved(ended.problem, self._oom_kills - before)
        return ended

    @property
    def _oom_kills(self) -> int:
        return self._child.oom_kills() if self._child else 0

    async def cancel(self, turn: Turn, reason: str) -> None:
        await self._line.call("turn.cancel", {"turn": turn.id, "reason": reason}, self._grace.request)

    async def state(self) -> Told:
        method = "checkpoint" if self.saves else "state.get"
        answered: str | None = None

        def heard() -> None:
            nonlocal answered
            answered = self._answered

        result = await self._line.call(method, {}, self._grace.request, heard)
        return Told(self._packed(result), answered)

    def _packed(self, result: dict[str, Any]) -> bytes:
        """Raises LimitReached: it could not be restored."""
        packed, most = rpc.pack(result["state"]), wire.MOST_STATE
        if len(packed) > most:
            text = f"the state of session {self._session} has {len(packed)} bytes and may have {most}"
            raise LimitReached(f"{text}; clear it, or have its engine keep less", bytes=len(packed), limit=most)
        return packed

    async def _kept(self, result: dict[str, Any]) -> bytes | None:
        """The state that came with a turn's end; one that cannot be kept is said in the turn."""
        try:
            return self._packed(result) if "state" in result else None
        except LimitReached as error:
            item = new_id("i")
            for change in (
                Start(item, ItemKind.error, "", {}),
                Append(item, f"the state is not saved: {error.message}"),
                End(item, ItemState.failed, {}),
            ):
                await self._listener.heard(change)
            return None

    async def clear(self) -> bytes | None:
        if "clear" not in self._capabilities:
            text = f"engine {self._engine} has no state that can be cleared; use a new session"
            raise NotSupported(text, engine=self._engine)
        result = await self._line.call("state.clear", {}, self._grace.request)
        return self._packed(result) if "state" in result else None

    async def end(self) -> None:
        self._asked_to_end = True
        child = self._child
        if child is not None and self._ready and not self.gone.is_set():
            with trio.move_on_after(self._grace.stop):
                with suppress(RoostError):  # whatever it answers, and if it does not: next its stdin ends
                    await self._line.call("shutdown", {}, self._grace.stop / 2)
                child.stdin.close()
                await self.gone.wait()
        if child is not None and not self.gone.is_set():
            await child.end(self._grace.term)
        await self.gone.wait()

    def kill(self) -> None:
        self._asked_to_end = self._asked_to_end or self.problem is None
        if self._child is not None:
            self._child.signal_group(signal.SIGKILL)
            # One that hangs in the kernel does not die of it: then its end is the next step, which says so.
            self._attending.deadline = min(self._attending.deadline, trio.current_time() + DYING)


def _failed(why: Problem) -> Ended:
    code = why.data.get("exit_code")
    return Ended(TurnState.failed, why, code if isinstance(code, int) and _of_a_process(code) else None)


def _of_a_process(code: int) -> bool:
    return -(2**31) <= code < 2**31


def _ended(result: dict[str, Any], packed: bytes | None) -> Ended:
    status, code = result["status"], result.get("exit_code")
    if status not in wire.TURN_STATUSES:
        text = f"the worker ended its turn as {status!r}; it must be one of {', '.join(wire.TURN_STATUSES)}"
        return _failed(problem(WorkerViolation(text, status=status)))
    if code is not None and not _of_a_process(code):
        return _failed(problem(WorkerViolation(f"the worker's exit_code is {code}; it must be one of a process")))
    state = TurnState(status)
    why = None
    if state is TurnState.failed:
        failure = TurnFailed(result.get("message") or "the turn failed; look at its items")
        failure.data = result.get("data", {})
        why = problem(failure)
    return Ended(state, why, code, packed)
