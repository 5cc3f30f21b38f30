"""A line of the daemon without a child: the test speaks at its other end."""

from collections import defaultdict
from typing import Any

import trio
import trio.testing

from roost.daemon.engines.codec import MessagePack
from roost.daemon.engines.line import MOST_ASKED, Call, Line
from roost.daemon.engines.words import WorkerWords
from roost.daemon.process.outlet import Outlet
from roost.protocol import rpc
from roost.protocol.errors import NotSupported, WorkerExited, WorkerViolation
from roost.protocol.worker import NESTING

DEADLINE = 20.0


def nested(depth: int) -> Any:
    return {"x": nested(depth - 1)} if depth else None


class Joined:
    """A line and the worker at its other end, which may ask ``question``."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.broken: list[WorkerViolation] = []
        self.asked: list[dict[str, Any]] = []
        self.given_up: list[str] = []
        self.gates: defaultdict[str, trio.Event] = defaultdict(trio.Event)
        self.deaf = 0
        codec = MessagePack(rpc.Limits(nesting=NESTING, pending=MOST_ASKED))
        lost = WorkerExited("it is gone; start it again")
        handlers = {"question": self._question}
        self.line = Line(codec, WorkerWords(), self._tell, lambda: lost, self.broken.append, handlers)
        self.ours, self.theirs = trio.testing.memory_stream_pair()
        self.rpc = rpc.Connection()
        self.heard: list[rpc.Message] = []

    async def _tell(self, method: str, params: dict[str, Any]) -> None:
        self.told.append((method, params))

    async def _question(self, params: dict[str, Any]) -> dict[str, Any]:
        """Waits for the gate of that name."""
        self.asked.append(params)
        match text := params["text"]:
            case "refused":
                raise NotSupported("it cannot; use another")
            case "bug":
                raise ValueError(text)
            case "unsayable":
                return {"answer": object()}
            case _:
                pass
        try:
            await self.gates[text].wait()
        except trio.Cancelled:
            self.given_up.append(text)
            raise
        return {"answer": text}

    async def ask(self, method: str, params: dict[str, Any] | None = None, within: float = DEADLINE) -> dict[str, Any]:
        await trio.testing.wait_all_tasks_blocked()  # the line has begun
        return await self.line.ask(Call(method, params or {}), within)

    async def run(self) -> None:
        """As a worker's engine does."""
        async with trio.open_nursery() as nursery:
            outlet = Outlet(self.ours, nursery.start_soon, self.is_deaf)
            self.line.begin(outlet.send, nursery.start_soon)
            await self.read()
            nursery.cancel_scope.cancel()

    async def read(self) -> None:
        while data := await self.ours.receive_some(65536):
            await self.line.hear(bytes(data))

    async def tell(self, data: bytes) -> None:
        """Have it said, and heard."""
        await self.theirs.send_all(data)
        await trio.testing.wait_all_tasks_blocked()

    async def answer(self) -> tuple[int, str | None, Any]:
        """The next answer to the child: its msgid, the name of its error, its result."""
        with trio.fail_after(DEADLINE):
            message = await self.next()
        assert isinstance(message, rpc.Response)
        return message.msgid, message.error and message.error["name"], message.result

    async def is_deaf(self) -> None:
        self.deaf += 1

    async def next(self) -> rpc.Message:
        """What the worker hears next."""
        while not self.heard:
            self.heard += self.rpc.receive(bytes(await self.theirs.receive_some(65536)))
        return self.heard.pop(0)

    async def request(self) -> rpc.Request:
        message = await self.next()
        assert isinstance(message, rpc.Request)
        self.rpc.answered(message.msgid)
        return message
