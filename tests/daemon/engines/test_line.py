"""The line to a worker: each answer to its request, whole frames only, and nobody waits for what will not come."""

from typing import Any

import pytest
import trio
import trio.testing

from helpers.joined import Joined, nested
from roost.daemon.engines.line import Call
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
