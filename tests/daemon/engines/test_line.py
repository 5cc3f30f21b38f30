"""The line to a worker: each answer to its request, whole frames only, and nobody waits for what will not come."""

from collections import defaultdict
from typing import Any

import pytest
import trio
import trio.testing

from roost.daemon.engines.codec import MessagePack
from roost.daemon.engines.line import MOST_ASKED, Call, Line
from roost.daemon.engines.words import WorkerWords
from roost.daemon.process.outlet import UNSENT, Outlet
from roost.protocol import rpc
from roost.protocol.errors import (
    DuplicateMsgid,
    EngineNotFound,
    NotSupported,
    RoostError,
    SessionBusy,
    StorageFailed,
    TimedOut,
    WorkerExited,
    WorkerViolation,
)
from roost.protocol.worker import MOST_FAILURE, NESTING

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
        try:
            await self.gates[text].wait()
        except trio.Cancelled:
            self.given_up.append(text)
            raise
        return {"answer": text}

    async def ask(self, method: str, params: dict[str, Any] | None = None, within: float = DEADLINE) -> dict[str, Any]:
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


@pytest.fixture
def joined() -> Joined:
    return Joined()


async def test_each_answer_finds_its_request(joined: Joined, nursery: trio.Nursery) -> None:
    nursery.start_soon(joined.run)
    answers: dict[str, dict[str, Any]] = {}

    async def ask(method: str) -> None:
        answers[method] = await joined.ask(method)

    async with trio.open_nursery() as asking:
        asking.start_soon(ask, "checkpoint")
        asking.start_soon(ask, "state.get")
        heard = [await joined.request(), await joined.request()]
        for request in reversed(heard):
            await joined.theirs.send_all(rpc.response(request.msgid, {"state": request.method}))
    assert answers == {method: {"state": method} for method in ("checkpoint", "state.get")}


async def test_what_it_tells_is_checked_and_handed_on(joined: Joined, nursery: trio.Nursery) -> None:
    nursery.start_soon(joined.run)
    await joined.theirs.send_all(rpc.notification("progress", {"message": "half"}))
    await trio.testing.wait_all_tasks_blocked()
    assert joined.told == [("progress", {"message": "half"})]


@pytest.mark.parametrize(
    "data",
    [
        rpc.notification("no.such", {}),
        rpc.notification("progress", {"message": 7}),
        rpc.notification("progress", {}),
        rpc.notification("item.start", {"item": "m", "kind": "status", "data": nested(NESTING - 2)}),
        b"\xc1",
        b"this is text\n",
    ],
)
async def test_what_is_not_the_protocol_is_a_violation(joined: Joined, data: bytes) -> None:
    await joined.theirs.send_all(data)
    await joined.theirs.send_eof()
    with pytest.raises(WorkerViolation, match="broke the worker protocol"):
        await joined.read()


async def test_what_is_as_deep_as_it_may_be_is_taken(joined: Joined, nursery: trio.Nursery) -> None:
    nursery.start_soon(joined.run)
    deepest = {"item": "m", "kind": "status", "data": nested(NESTING - 3)}
    await joined.theirs.send_all(rpc.notification("item.start", deepest))
    await trio.testing.wait_all_tasks_blocked()
    assert joined.told == [("item.start", deepest)]


async def test_a_violation_quotes_no_more_of_it_than_is_kept(joined: Joined) -> None:
    """Its error goes to whoever waits for the child, who reads messages of a bounded size."""
    await joined.theirs.send_all(rpc.notification("progress", {"message": "", "x" * 100_000: 1}))
    with pytest.raises(WorkerViolation, match="unknown field 'xxx") as caught:
        await joined.read()
    assert len(rpc.pack(caught.value.to_wire())) < 2 * MOST_FAILURE


async def test_its_own_requests_are_refused_politely(joined: Joined, nursery: trio.Nursery) -> None:
    nursery.start_soon(joined.run)
    without_params = b"\x94\x00\x02\xa1x\x07"
    names: list[str] = []
    for request in (rpc.request(1, "approval.request", {}), without_params):
        await joined.theirs.send_all(request)
        refusal = await joined.next()
        assert isinstance(refusal, rpc.Response)
        names.append(refusal.error["name"])
    assert names == ["method_not_found", "invalid_params"]


async def test_a_refusal_does_not_say_all_of_what_it_refuses(joined: Joined, nursery: trio.Nursery) -> None:
    """It waits until the worker reads, as do those of 99 more."""
    nursery.start_soon(joined.run)
    method = "x" * 100_000
    without_params = rpc.pack([rpc.REQUEST, 2, method, [5]])
    for request in (rpc.request(1, method, {}), without_params):
        await joined.theirs.send_all(request)
        refusal = await joined.next()
        assert isinstance(refusal, rpc.Response)
        assert refusal.error["data"]["method"] == "x" * 64 and len(rpc.pack(refusal.error)) < 1000


@pytest.mark.parametrize("error", [NotSupported("it cannot; use another"), SessionBusy("it runs; wait")])
async def test_an_error_of_its_own_is_told_on(joined: Joined, nursery: trio.Nursery, error: RoostError) -> None:
    nursery.start_soon(joined.run)
    async with trio.open_nursery() as asking:

        async def ask() -> None:
            with pytest.raises(type(error), match=error.message):
                await joined.ask("state.get")

        asking.start_soon(ask)
        request = await joined.request()
        await joined.theirs.send_all(rpc.failure(request.msgid, error))
    assert joined.broken == []


@pytest.mark.parametrize(
    "error",
    [StorageFailed("x"), WorkerExited("x"), EngineNotFound("x"), DuplicateMsgid("x" * 100_000)],
)
async def test_an_error_that_means_something_here_is_a_breach(
    joined: Joined, nursery: trio.Nursery, error: RoostError
) -> None:
    """Else a worker could have the daemon believe that its disk is full."""
    nursery.start_soon(joined.run)
    async with trio.open_nursery() as asking:

        async def ask() -> None:
            with pytest.raises(WorkerViolation, match=error.wire_name):
                await joined.ask("turn.run")

        asking.start_soon(ask)
        request = await joined.request()
        await joined.theirs.send_all(rpc.failure(request.msgid, error))
    assert len(joined.broken) == 1


async def test_an_answer_of_the_wrong_shape_is_a_breach(joined: Joined, nursery: trio.Nursery) -> None:
    nursery.start_soon(joined.run)
    async with trio.open_nursery() as asking:

        async def ask() -> None:
            with pytest.raises(WorkerViolation):
                await joined.ask("checkpoint")

        asking.start_soon(ask)
        request = await joined.request()
        await joined.theirs.send_all(rpc.response(request.msgid, {"no": "state"}))
    assert len(joined.broken) == 1


async def test_the_late_answer_to_a_request_that_was_given_up_harms_nobody(
    joined: Joined, nursery: trio.Nursery
) -> None:
    nursery.start_soon(joined.run)
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(TimedOut, match=r"turn\.run within"):
        await joined.ask("turn.run", {"input": "x" * 50_000}, 0.02)
    async with trio.open_nursery() as asking:

        async def ask() -> None:
            assert await joined.ask("ping") == {}

        asking.start_soon(ask)
        first, second = await joined.request(), await joined.request()
        assert first.params["input"] == "x" * 50_000 and second.method == "ping"
        await joined.theirs.send_all(rpc.response(first.msgid, {"status": "completed"}))
        await joined.theirs.send_all(rpc.response(second.msgid, {}))


class Full(trio.abc.SendStream):
    """Nobody reads."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.sleep_forever()

    async def wait_send_all_might_not_block(self) -> None: ...

    async def aclose(self) -> None: ...


async def test_a_closed_line_keeps_nobody_waiting(joined: Joined, nursery: trio.Nursery) -> None:
    outlet = Outlet(Full(), nursery.start_soon, joined.is_deaf)
    joined.line.begin(outlet.send, nursery.start_soon)
    errors: list[RoostError] = []

    async def ask() -> None:
        with pytest.raises(WorkerExited) as caught:
            await joined.ask("ping")
        errors.append(caught.value)

    async with trio.open_nursery() as asking:
        for _ in range(UNSENT + 5):  # some wait for an answer, some for room to ask
            asking.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        outlet.close()
        joined.line.close()
    await ask()
    assert len(errors) == UNSENT + 6
    nursery.cancel_scope.cancel()


async def test_when_nobody_reads_asking_is_refused(joined: Joined, nursery: trio.Nursery) -> None:
    await joined.theirs.aclose()
    joined.line.begin(Outlet(joined.ours, nursery.start_soon, joined.is_deaf).send, nursery.start_soon)
    with pytest.raises(TimedOut):
        await joined.ask("ping", within=0.05)
    assert joined.deaf == 1
    with pytest.raises(WorkerExited):
        await joined.ask("ping")


# --- requests of the child ---


async def test_a_request_that_waits_stops_no_output(joined: Joined, nursery: trio.Nursery) -> None:
    nursery.start_soon(joined.run)
    await joined.tell(rpc.request(1, "question", {"text": "may I?"}))
    await joined.tell(rpc.notification("progress", {"message": "meanwhile"}))
    assert joined.told == [("progress", {"message": "meanwhile"})]
    assert joined.asked == [{"text": "may I?"}]
    joined.gates["may I?"].set()
    assert await joined.answer() == (1, None, {"answer": "may I?"})


async def test_answers_go_out_as_they_come(joined: Joined, nursery: trio.Nursery) -> None:
    nursery.start_soon(joined.run)
    for msgid, text in ((1, "first"), (2, "second")):
        await joined.tell(rpc.request(msgid, "question", {"text": text}))
    for msgid, text in ((2, "second"), (1, "first")):
        joined.gates[text].set()
        assert await joined.answer() == (msgid, None, {"answer": text})


async def test_so_many_requests_are_open_and_no_more(joined: Joined, nursery: trio.Nursery) -> None:
    nursery.start_soon(joined.run)
    for msgid in range(MOST_ASKED + 1):
        await joined.theirs.send_all(rpc.request(msgid, "question", {"text": "x"}))
    assert await joined.answer() == (MOST_ASKED, "too_many_requests", None)
    joined.gates["x"].set()
    assert len([await joined.answer() for _ in range(MOST_ASKED)]) == MOST_ASKED
    await joined.tell(rpc.request(0, "question", {"text": "x"}))
    assert await joined.answer() == (0, None, {"answer": "x"})


async def test_a_msgid_that_is_in_use_is_refused(joined: Joined, nursery: trio.Nursery) -> None:
    nursery.start_soon(joined.run)
    await joined.tell(rpc.request(1, "question", {"text": "x"}))
    await joined.tell(rpc.request(1, "question", {"text": "x"}))
    assert await joined.answer() == (1, "duplicate_msgid", None)
    joined.gates["x"].set()
    assert await joined.answer() == (1, None, {"answer": "x"})


async def test_a_request_is_withdrawn_by_the_child(joined: Joined, nursery: trio.Nursery) -> None:
    nursery.start_soon(joined.run)
    for msgid, text in ((1, "first"), (2, "second")):
        await joined.tell(rpc.request(msgid, "question", {"text": text}))
    await joined.tell(rpc.notification("rpc.cancel", {"msgid": 1}) + rpc.notification("rpc.cancel", {"msgid": 7}))
    assert await joined.answer() == (1, "request_cancelled", None)
    joined.gates["second"].set()
    assert await joined.answer() == (2, None, {"answer": "second"})
    assert joined.given_up == ["first"] and joined.told == []


async def test_requests_end_with_the_turn(joined: Joined, nursery: trio.Nursery) -> None:
    nursery.start_soon(joined.run)
    await joined.tell(rpc.request(1, "question", {"text": "x"}))
    joined.line.withdraw()
    assert await joined.answer() == (1, "request_cancelled", None)
    assert joined.given_up == ["x"]


async def test_requests_end_with_the_line(joined: Joined, nursery: trio.Nursery) -> None:
    nursery.start_soon(joined.run)
    await joined.tell(rpc.request(1, "question", {"text": "x"}))
    joined.line.close()
    await trio.testing.wait_all_tasks_blocked()
    assert joined.given_up == ["x"]


@pytest.mark.parametrize(
    ("text", "name"), [("refused", "not_supported"), ("bug", "internal_error"), ("unsayable", "internal_error")]
)
async def test_an_answer_that_fails_is_an_error_and_harms_nobody(
    joined: Joined, nursery: trio.Nursery, text: str, name: str
) -> None:
    nursery.start_soon(joined.run)
    await joined.tell(rpc.request(1, "question", {"text": text}))
    assert await joined.answer() == (1, name, None)
    await joined.tell(rpc.request(1, "question", {"text": "x"}))
    joined.gates["x"].set()
    assert await joined.answer() == (1, None, {"answer": "x"})


async def test_answers_are_numbered_in_the_order_heard(joined: Joined, nursery: trio.Nursery) -> None:
    """Whatever the order in which those who wait for them go on: the number is there before any of them does."""
    nursery.start_soon(joined.run)
    await trio.testing.wait_all_tasks_blocked()
    calls = [Call("ping", {}) for _ in range(5)]
    seen: list[list[int]] = []
    async with trio.open_nursery() as asking:

        async def ask(call: Call) -> None:
            await joined.line.ask(call)
            seen.append([call.number for call in calls])

        requests: list[rpc.Request] = []
        for call in calls:
            asking.start_soon(ask, call)
            requests.append(await joined.request())
        await joined.theirs.send_all(b"".join(rpc.response(asked.msgid, {}) for asked in reversed(requests)))
    assert seen == [[5, 4, 3, 2, 1]] * 5
