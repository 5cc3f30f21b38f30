"""Engine kind ``worker``: a child that lives between turns and speaks the worker protocol on its stdin and stdout."""

import logging
import signal
from typing import Any

import trio

from ...protocol import rpc
from ...protocol import worker as wire
from ...protocol.errors import (
    ConnectionLost,
    InvalidParams,
    MethodNotFound,
    NotSupported,
    RoostError,
    TimedOut,
    WorkerExited,
    WorkerViolation,
    from_wire,
)
from ...protocol.model import Problem, Turn, TurnState
from ..process.spawn import Child, spawn
from .engine import Ended, Grace, Launch, Listener, died
from .heard import Translator
from .tail import Tail

log = logging.getLogger(__name__)


class WorkerEngine:
    """One worker process."""

    resident = True

    def __init__(self, launch: Launch, listener: Listener, grace: Grace, limiter: trio.CapacityLimiter) -> None:
        self.gone = trio.Event()
        self.problem: Problem | None = None
        self._launch = launch
        self._listener = listener
        self._grace = grace
        self._limiter = limiter
        self._wire = rpc.Connection()
        self._answers: dict[int, trio.MemorySendChannel[rpc.Response]] = {}
        self._capabilities: frozenset[str] = frozenset()
        self._translator: Translator | None = None
        self._stderr = Tail()
        self._child: Child | None = None
        self._writing = trio.Lock()
        self._asked_to_end = False
        self._ready = False

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child else None

    @property
    def saves(self) -> bool:
        return "checkpoint" in self._capabilities

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        launch = self._launch
        child = await spawn(launch.engine.command, cwd=launch.session.workspace, env=launch.env, limiter=self._limiter)
        self._child = child
        failed: RoostError | None = None
        try:
            await self._listener.spawned(child.identity)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._attend, child, nursery.cancel_scope)
                try:
                    await self._initialize()
                    self._ready = True
                    task_status.started()
                except RoostError as exc:
                    failed = exc
                    self._refuse(exc)
                    nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await child.end(self._grace.term if self._asked_to_end else 0)
                await child.aclose()
                self._lose_answers()
                await self._listener.ended_child(child.identity)
                self.gone.set()
        if not self._ready:
            raise failed or self._lost()

    async def _attend(self, child: Child, scope: trio.CancelScope) -> None:
        """Read until the child has ended and its pipes are drained, then let the rest of ``serve`` go."""
        await child.until_drained(lambda: self._listen(child))
        await child.wait()
        if not self._asked_to_end and self.problem is None:
            self.problem = died(child, self._stderr.text())
        self._lose_answers()
        scope.cancel()

    async def _listen(self, child: Child) -> None:
        async with trio.open_nursery() as readers:
            readers.start_soon(self._stderr.fill, child.stderr)
            readers.start_soon(self._read, child)

    async def _read(self, child: Child) -> None:
        try:
            while data := await child.stdout.receive_some(65536):
                for message in self._wire.receive(bytes(data)):
                    await self._handle(message)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        except RoostError as exc:
            self._refuse(exc)
            child.signal_group(signal.SIGKILL)

    def _refuse(self, exc: RoostError) -> None:
        """The child said what it must not: it is not spoken with again."""
        if self.problem is None and not self._asked_to_end:
            stderr = self._stderr.text()
            self.problem = Problem(name=exc.wire_name, message=exc.message, data={**exc.data, "stderr": stderr})

    async def _handle(self, message: rpc.Message) -> None:
        match message:
            case rpc.Response(msgid=msgid):
                if channel := self._answers.pop(msgid, None):
                    channel.send_nowait(message)
            case rpc.Notification(method=method, params=params):
                await self._told(method, params)
            case rpc.Request(msgid=msgid, method=method):
                self._wire.answered(msgid)
                refusal = MethodNotFound(f"roostd does not answer {method!r} to a worker", method=method)
                await self._send(rpc.failure(msgid, refusal))
            case rpc.Refused(msgid=msgid, error=error):
                await self._send(rpc.failure(msgid, error))
            case rpc.Violation(error=error):
                raise _violation(error)

    async def _told(self, method: str, params: dict[str, Any]) -> None:
        try:
            wire.check(wire.TO_DAEMON, method, params)
            if self._translator is None:
                log.debug("%s: %s after its turn", self._launch.session.id, method)
                return
            change = self._translator.change(method, params)
        except (InvalidParams, MethodNotFound) as exc:
            raise _violation(exc) from exc
        await self._listener.heard(change)

    async def _send(self, data: bytes) -> None:
        if self._child is None or self.gone.is_set():
            raise self._lost()
        try:
            async with self._writing:
                await self._child.stdin.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise self._lost() from None

    def _lost(self) -> RoostError:
        problem = self.problem
        if problem is None:
            return WorkerExited("the session's child was ended; start it again", pid=self.pid)
        return from_wire(problem.to_wire())

    def _lose_answers(self) -> None:
        for channel in self._answers.values():
            channel.close()
        self._answers.clear()

    async def _call(self, method: str, params: dict[str, Any], within: float | None) -> dict[str, Any]:
        """Ask the worker.

        Raises:
            WorkerExited: it is gone. WorkerViolation: its answer is not its protocol. TimedOut: no answer in time.
        """
        msgid = self._wire.next_msgid()
        send, receive = trio.open_memory_channel[rpc.Response](1)
        self._answers[msgid] = send
        try:
            with trio.fail_after(float("inf") if within is None else within):
                await self._send(rpc.request(msgid, method, params))
                response = await receive.receive()
        except trio.TooSlowError:
            text = f"the session's child did not answer {method} within {within:g} s; stop the session if it hangs"
            raise TimedOut(text, method=method, pid=self.pid) from None
        except (trio.EndOfChannel, trio.ClosedResourceError):
            # The child may have ended before its end is understood: wait for the reason, it is near.
            raise self._lost() from None
        finally:
            self._answers.pop(msgid, None)
        if response.error is not None:
            raise from_wire(response.error)
        try:
            return wire.check(wire.RESULTS, method, response.result)
        except InvalidParams as exc:
            problem = _violation(exc)
            self._refuse(problem)
            self.kill()
            raise problem from exc

    async def _initialize(self) -> None:
        launch = self._launch
        params: dict[str, Any] = {
            "protocol": wire.PROTOCOL,
            "session": launch.session.id,
            "workspace": launch.session.workspace,
            "history": launch.history,
            "limits": {"frame": self._wire.limits.frame, "nesting": self._wire.limits.nesting},
        }
        if launch.state is not None:
            params["state"] = rpc.unpack(launch.state)
        if launch.interrupted is not None:
            params["interrupted"] = launch.interrupted
        result = await self._call("initialize", params, self._grace.start)
        if result["protocol"] != wire.PROTOCOL:
            text = f"the worker speaks protocol {result['protocol']}, roostd speaks {wire.PROTOCOL}; update the worker"
            raise WorkerViolation(text, protocol=result["protocol"])
        self._capabilities = frozenset(str(name) for name in result["capabilities"])

    async def run(self, turn: Turn) -> Ended:
        self._translator = Translator()
        try:
            params = {"turn": turn.id, "number": turn.number, "input": turn.input}
            result = await self._call("turn.run", params, None)
        except (WorkerExited, WorkerViolation, ConnectionLost) as exc:
            await self.gone.wait()
            return _failed(from_wire(self.problem.to_wire()) if self.problem else exc)
        except RoostError as exc:
            return _failed(exc)
        finally:
            self._translator = None
        return _ended(result)

    async def cancel(self, turn: Turn, reason: str) -> None:
        await self._call("turn.cancel", {"turn": turn.id, "reason": reason}, self._grace.request)

    async def state(self) -> bytes:
        method = "checkpoint" if self.saves else "state.get"
        return rpc.pack((await self._call(method, {}, self._grace.request))["state"])

    async def clear(self) -> bytes | None:
        if "clear" not in self._capabilities:
            text = f"engine {self._launch.session.engine} has no state that can be cleared; use a new session"
            raise NotSupported(text, engine=self._launch.session.engine)
        result = await self._call("state.clear", {}, self._grace.request)
        return rpc.pack(result["state"]) if "state" in result else None

    async def end(self) -> None:
        self._asked_to_end = True
        child = self._child
        if child is not None and not self.gone.is_set():
            with trio.move_on_after(self._grace.stop):
                try:
                    await self._call("shutdown", {}, self._grace.stop)
                    await child.stdin.aclose()
                    await self.gone.wait()
                except RoostError:
                    pass  # it is gone, or does not answer: the next step does not ask
            if not self.gone.is_set():
                await child.end(self._grace.term)
        await self.gone.wait()

    def kill(self) -> None:
        if self._child is not None:
            self._asked_to_end = self._asked_to_end or self.problem is None
            self._child.signal_group(signal.SIGKILL)


def _violation(error: RoostError) -> WorkerViolation:
    text = f"the session's child broke the worker protocol: {error.message}"
    return WorkerViolation(text, **{**error.data, "violation": error.wire_name})


def _failed(error: RoostError) -> Ended:
    problem = Problem(name=error.wire_name, message=error.message, data=error.data)
    code = error.data.get("exit_code")
    return Ended(TurnState.failed, problem, code if isinstance(code, int) else None)


def _ended(result: dict[str, Any]) -> Ended:
    status = result["status"]
    if status not in wire.TURN_STATUSES:
        text = f"the worker ended its turn as {status!r}; it must be one of {', '.join(wire.TURN_STATUSES)}"
        return _failed(WorkerViolation(text, status=status))
    state = TurnState(status)
    problem = None
    if state is TurnState.failed:
        message = str(result.get("message") or "the turn failed; look at its items")
        problem = Problem(name="turn_failed", message=message, data=result.get("data", {}))
    engine_state = rpc.pack(result["state"]) if "state" in result else None
    return Ended(state, problem, result.get("exit_code"), engine_state)
