"""The worker protocol, as the daemon speaks it with a resident child."""

import logging
from collections.abc import Mapping
from typing import Any

from ...protocol import rpc
from ...protocol import worker as wire
from ...protocol.errors import LimitReached, NotSupported, TurnFailed, WorkerViolation
from ...protocol.model import ItemKind, ItemState, Turn, TurnState, new_id
from ..core.said import Append, End, Start
from .codec import MessagePack
from .dialect import Life
from .engine import Ended, Grace, Launch, Listener, Told, failed, of_a_process, problem
from .line import MOST_ASKED, Call, Handler, Line
from .translator import Translator
from .words import WorkerWords

log = logging.getLogger(__name__)


class WorkerDialect:
    """See :class:`Dialect`."""

    def __init__(self, launch: Launch, listener: Listener, grace: Grace, life: Life) -> None:
        codec = MessagePack(rpc.Limits(nesting=wire.NESTING, pending=MOST_ASKED))
        self.line = Line(codec, WorkerWords(), self._told, life.lost, life.broken, self._handlers())
        self._session, self._engine = launch.session.id, launch.session.engine
        self._listener = listener
        self._grace = grace
        self._capabilities: frozenset[str] = frozenset()
        self._translator: Translator | None = None
        self._turns: list[tuple[str, Call]] = []
        """The last turn that was answered, and the one after it."""

    def _handlers(self) -> Mapping[str, Handler]:
        """The requests that roostd answers to a worker."""
        return {}

    @property
    def saves(self) -> bool:
        return self._takes("checkpoint")

    def _takes(self, name: str) -> bool:
        return wire.taken(name, self._capabilities)

    async def _ask(self, call: Call, within: float = float("inf")) -> dict[str, Any]:
        assert self._takes(call.method), f"the worker did not say that it takes {call.method}"
        return await self.line.ask(call, within)

    async def _told(self, method: str, params: dict[str, Any]) -> None:
        if self._translator is None:
            log.debug("%s: %s after its turn", self._session, method)
        else:
            await self._listener.said(self._translator.change(method, params))

    async def greet(self, launch: Launch) -> None:
        limits = self.line.codec.limits
        params: dict[str, Any] = {
            "protocol": wire.PROTOCOL,
            "session": launch.session.id,
            "workspace": launch.session.workspace,
            "history": launch.history,
            "limits": {"frame": limits.frame, "nesting": limits.nesting},
            "answers": sorted(self.line.handlers),
        }
        if launch.state is not None:
            params["state"] = rpc.unpack(launch.state)
        if launch.interrupted is not None:
            params["interrupted"] = launch.interrupted
        result = await self._ask(Call("initialize", params), self._grace.start)
        if result["protocol"] != wire.PROTOCOL:
            text = f"the worker speaks protocol {result['protocol']}, roostd speaks {wire.PROTOCOL}; update the worker"
            raise WorkerViolation(text, protocol=result["protocol"])
        self._capabilities = frozenset(str(name) for name in result["capabilities"])

    async def run(self, turn: Turn) -> Ended:
        call = Call("turn.run", {"turn": turn.id, "number": turn.number, "input": turn.input})
        self._turns = [*[done for done in self._turns if done[1].number][-1:], (turn.id, call)]
        self._translator = Translator()
        try:
            result = await self._ask(call)
        finally:
            self._translator = None
        return _ended(result, await self._kept(result))

    async def cancel(self, turn: Turn, reason: str) -> None:
        await self._ask(Call("turn.cancel", {"turn": turn.id, "reason": reason}), self._grace.request)

    async def state(self) -> Told:
        call = Call("checkpoint" if self.saves else "state.get", {})
        packed = self._packed(await self._ask(call, self._grace.request))
        held = [turn for turn, run in self._turns if 0 < run.number < call.number]
        return Told(packed, held[-1] if held else None)

    def _packed(self, result: dict[str, Any]) -> bytes:
        """Raises LimitReached: the state could not be restored."""
        packed, most = rpc.pack(result["state"]), wire.MOST_STATE
        if len(packed) > most:
            text = f"the state of session {self._session} has {len(packed)} bytes and may have {most}"
            raise LimitReached(f"{text}; clear it, or have its engine keep less", bytes=len(packed), limit=most)
        return packed

    async def _kept(self, result: dict[str, Any]) -> bytes | None:
        """The state that came with a turn's end; a state that cannot be kept is said in the turn."""
        try:
            return self._packed(result) if "state" in result else None
        except LimitReached as error:
            item = new_id("i")
            await self._listener.said(Start(item, ItemKind.error, "", {}))
            await self._listener.said(Append(item, f"the state is not saved: {error.message}"))
            await self._listener.said(End(item, ItemState.failed, {}))
            return None

    async def clear(self) -> bytes | None:
        if not self._takes("state.clear"):
            text = f"engine {self._engine} has no state that can be cleared; use a new session"
            raise NotSupported(text, engine=self._engine)
        result = await self._ask(Call("state.clear", {}), self._grace.request)
        return self._packed(result) if "state" in result else None

    async def dismiss(self, within: float) -> None:
        await self._ask(Call("shutdown", {}), within)


def _ended(result: dict[str, Any], packed: bytes | None) -> Ended:
    status, code = result["status"], result.get("exit_code")
    if status not in wire.TURN_STATUSES:
        text = f"the worker ended its turn as {status!r}; it must be one of {', '.join(wire.TURN_STATUSES)}"
        return failed(problem(WorkerViolation(text, status=status)))
    if code is not None and not of_a_process(code):
        return failed(problem(WorkerViolation(f"the worker's exit_code is {code}; it must be one of a process")))
    state = TurnState(status)
    why = None
    if state is TurnState.failed:
        failure = TurnFailed(result.get("message") or "the turn failed; look at its items")
        failure.data = result.get("data", {})
        why = problem(failure)
    return Ended(state, why, code, packed)
