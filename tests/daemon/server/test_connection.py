"""One connection: what is answered, in which order, and what ends it."""

import logging
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from helpers.raw import frames
from helpers.served import Client, Served, connected, served
from helpers.waiting import DEADLINE, wait_until
from roost.daemon.server import connection as connection_module
from roost.daemon.server.outgoing import UNSENT
from roost.daemon.store import checkpoints
from roost.protocol import rpc
from roost.protocol.errors import (
    DuplicateMsgid,
    FrameTooLarge,
    InternalError,
    InvalidParams,
    InvalidRequest,
    MethodNotFound,
    ProtocolViolation,
    RequestCancelled,
    ResultTooLarge,
    RoostError,
    SessionNotFound,
    TooManyRequests,
)


def broken(*_: object) -> None:
    raise ZeroDivisionError("division by zero")


async def test_requests_cut_at_every_byte_are_answered_the_same(tmp_path: Path) -> None:
    sent = b"".join(
        [
            rpc.request(1, "hello", {"protocol": 1, "client": {"name": "cutter"}}),
            rpc.request(70_000, "session.get", {"session": "s-nobody"}),
            rpc.notification("rpc.cancel", {"msgid": 99}),
            rpc.request(3, "engine.list", {}),
        ]
    )
    async with served(tmp_path) as s:
        answers: list[list[Any]] = []
        for cut in range(1, len(sent)):
            async with connected(s.path) as client:
                await client.send(sent[:cut])
                await trio.testing.wait_all_tasks_blocked()
                await client.send(sent[cut:])
                await wait_answers(client, 3)
                answers.append(sorted(client.order, key=lambda answer: answer.msgid))
        assert [answer.msgid for answer in answers[0]] == [1, 3, 70_000]
        assert answers[0][2].error["name"] == "session_not_found"
        assert all(each == answers[0] for each in answers)


async def wait_answers(client: Any, count: int) -> None:
    with trio.fail_after(20):
        while len(client.order) < count:
            assert await client.receive()


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (rpc.request(7, "session.gett", {"session": "x"}), MethodNotFound),
        (rpc.request(7, "session.get", {"session": 5}), InvalidParams),
        (rpc.request(7, "session.get", {"session": "x", "shell": True}), InvalidParams),
        (rpc.pack([0, 7, "session.get", {"session": "x"}]), InvalidParams),
        (rpc.pack([0, 7, "session.get", [{"session": "x"}, 1]]), InvalidParams),
        (rpc.pack([0, 7, "session.get", [{b"session": "x"}]]), InvalidParams),
        (rpc.request(7, "session.get", {"session": "s-nobody"}), SessionNotFound),
    ],
)
async def test_a_request_that_is_wrong_is_answered_and_the_connection_goes_on(
    tmp_path: Path, frame: bytes, error: type[RoostError]
) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        await client.send(frame)
        with pytest.raises(error):
            await client.answer(7)
        assert (await client.call("daemon.status"))["clients"] == 1


async def test_an_unknown_method_names_the_nearest(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        error = await client.error("sesion.lst")
        assert error.data == {"method": "sesion.lst", "nearest": "session.list"}
        assert "did you mean session.list?" in error.message
        assert "rpc.discover" in (await client.error("x" * 100_000)).message


@pytest.mark.parametrize(
    ("frame", "error"),
    [
        (b"\x94\x00\x07\xa3foo\x91\xd4\x01\x00", ProtocolViolation),  # an extension type
        (b"\x94\x00\x07\xa3foo\x91\xc7\x00\xff", ProtocolViolation),  # a timestamp of no length
        (b"\x94\x00\x07\xa3foo\xd6\xff\x00\x00\x00\x00", ProtocolViolation),  # a timestamp
        (rpc.pack([0, 7]), InvalidRequest),
        (rpc.pack([0, 7, 5, [{}]]), InvalidRequest),
        (b"\x94\x00\x07\xa3foo\x91" + b"\x91" * 40 + b"\x90", ProtocolViolation),  # nested too deep
        (b"\x94\x00\x07\xa3foo\xc1", ProtocolViolation),  # a byte MessagePack never uses
    ],
)
async def test_a_violation_is_answered_and_ends_that_connection_and_no_other(
    tmp_path: Path, frame: bytes, error: type[RoostError]
) -> None:
    async with served(tmp_path) as s, connected(s.path) as other:
        async with connected(s.path) as client:
            await client.send(frame + rpc.request(8, "engine.list", {}))
            with pytest.raises(error):
                await client.answer(7)
            await client.wait_closed()
            assert client.answers == {}
        await wait_until(lambda: len(s.server.clients) == 1)
        assert (await other.call("daemon.status"))["clients"] == 1


async def test_a_violation_without_a_msgid_just_ends_the_connection(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        await client.send(b"GET / HTTP/1.1\r\n\r\n")
        await client.wait_closed()
        assert client.order == []


async def test_a_frame_of_17_mib_is_answered_after_all_of_it_was_sent(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client, connected(s.path) as other:
        await client.send(rpc.request(7, "turn.send", {"session": "x", "input": "y" * (17 * 1024 * 1024)}))
        with pytest.raises(FrameTooLarge) as refused:
            await client.answer(7)
        assert refused.value.data == {"limit": 16 * 1024 * 1024}
        await client.wait_closed()
        await other.call("daemon.status")


async def test_a_msgid_in_use_is_refused_and_free_again_after_its_answer(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        create = rpc.request(7, "session.create", {"workspace": str(tmp_path)})
        async with s.busy_writer():
            await client.send(create + create)
            with pytest.raises(DuplicateMsgid):
                await client.answer(7)
        assert (await client.answer(7))["session"]["workspace"] == str(tmp_path)
        await client.send(create)
        await client.answer(7)


async def test_more_requests_than_may_wait_are_refused(tmp_path: Path) -> None:
    async with served(tmp_path, limits=rpc.Limits(pending=8)) as s, connected(s.path) as client:
        async with s.busy_writer():
            waiting = [await client.ask("session.create", workspace=str(tmp_path)) for _ in range(8)]
            with pytest.raises(TooManyRequests) as refused:
                await client.call("daemon.status")
            assert refused.value.data == {"limit": 8}
        for msgid in waiting:
            await client.answer(msgid)
        await client.call("daemon.status")


async def test_a_request_that_waits_holds_up_no_other(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        async with s.busy_writer():
            waiting = await client.ask("session.create", workspace=str(tmp_path))
            await client.call("daemon.status")
            assert waiting not in client.answers
        await client.answer(waiting)


async def test_what_is_sent_first_begins_first(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("a")
        sends = [rpc.request(n, "turn.send", {"session": session, "input": str(n)}) for n in range(1, 201)]
        await client.send(b"".join(sends))
        for n in range(1, 201):
            turn = (await client.answer(n))["turn"]
            assert (turn["number"], turn["input"]) == (n, str(n))


@pytest.mark.parametrize("by", ["request", "notification"])
async def test_a_withdrawn_request_ends_its_waiting_and_not_the_work(tmp_path: Path, by: str) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        async with s.busy_writer():
            waiting = await client.ask("session.create", workspace=str(tmp_path), name="kept")
            await wait_until(lambda: s.store.counters["waiting"] == 1)
            if by == "request":
                assert await client.call("rpc.cancel", msgid=waiting) == {}
            else:
                await client.send(rpc.notification("rpc.cancel", {"msgid": waiting}))
            with pytest.raises(RequestCancelled) as withdrawn:
                await client.answer(waiting)
            assert withdrawn.value.data == {"msgid": waiting}
        await s.store.write(lambda tx: None)
        assert (await client.call("session.get", session="kept"))["session"]["name"] == "kept"


async def test_withdrawing_in_the_same_breath_or_too_late_is_harmless(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        create = rpc.request(7, "session.create", {"workspace": str(tmp_path)})
        async with s.busy_writer():
            await client.send(create + rpc.request(8, "rpc.cancel", {"msgid": 7}))
            with pytest.raises(RequestCancelled):
                await client.answer(7)
            assert await client.answer(8) == {}
        assert await client.call("rpc.cancel", msgid=7) == {}
        await client.send(rpc.notification("rpc.cancel", {"msgid": "seven"}))
        await client.call("daemon.status")


async def test_a_client_that_leaves_without_reading_its_answer_has_just_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(tmp_path) as s:
        async with connected(s.path) as client:
            await client.ask("daemon.status")
            await trio.testing.wait_all_tasks_blocked()
        await wait_until(lambda: len(s.server.clients) == 0)
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_client_that_leaves_ends_its_waiting_and_not_the_work(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as other:
        async with s.busy_writer():
            async with connected(s.path) as client:
                await client.ask("session.create", workspace=str(tmp_path), name="kept")
                await wait_until(lambda: s.store.counters["waiting"] == 1)
            await wait_until(lambda: len(s.server.clients) == 1)
        await s.store.write(lambda tx: None)
        assert (await other.call("session.get", session="kept"))["session"]["name"] == "kept"


async def test_notifications_and_answers_that_nobody_waits_for_are_passed_over(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        await client.send(rpc.notification("daemon.shutdown", {}) + rpc.response(5, {}))
        await client.call("daemon.status")
        assert s.shutdowns == []


@pytest.mark.parametrize(("method", "place"), [("daemon.stats", "in_flight"), ("session.list", "load_all")])
async def test_a_bug_in_a_handler_is_logged_and_answered_and_the_connection_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, method: str, place: str
) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        monkeypatch.setattr(s.supervisor, place, broken)
        params = {"turn": "t-x"} if method == "turn.wait" else {}
        error = await client.error(method, **params)
        assert isinstance(error, InternalError)
        assert error.data == {"method": method} and method in error.message
        await client.call("daemon.status")
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None and record.exc_info[0] is ZeroDivisionError


async def test_an_error_that_cannot_be_said_is_a_bug_and_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def find(ref: str) -> None:
        raise SessionNotFound(f"there is no {ref}\udcff", session=ref)

    async with served(tmp_path) as s, connected(s.path) as client:
        monkeypatch.setattr(s.supervisor.registry, "find", find)
        assert isinstance(await client.error("session.start", session="x"), InternalError)
        await client.call("daemon.status")
    assert "cannot be encoded" in caplog.text


async def test_a_bug_in_what_follows_an_answer_leaves_the_answer_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(tmp_path, request_shutdown=broken) as s, connected(s.path) as client:
        assert await client.call("daemon.shutdown") == {}
        await client.call("daemon.status")
        assert len(client.order) == 2
    assert "division by zero" in caplog.text


async def test_a_bug_in_a_connection_ends_that_one_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(tmp_path) as s, connected(s.path) as first, connected(s.path) as second:
        await first.call("daemon.status")
        first_connection = next(iter(s.server.clients))
        await second.call("daemon.status")
        monkeypatch.setattr(first_connection, "_take", broken)
        await first.ask("daemon.status")
        await first.wait_closed()
        assert (await second.call("daemon.status"))["clients"] == 1
    assert any(record.exc_info and "division by zero" in record.getMessage() for record in caplog.records)


async def test_a_result_over_1_mib_is_refused_with_a_way_to_get_less(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("big")
        state = rpc.pack("x" * 1024 * 1024)
        await s.store.write(lambda tx: checkpoints.save(tx, session, name="latest", state=state, through_turn=None))
        error = await client.error("session.state", session=session)
        assert isinstance(error, ResultTooLarge)
        assert error.data["limit"] == 1024 * 1024 and "session.checkpoint" in error.message
        await client.call("daemon.status")


async def test_what_a_client_does_not_read_is_bounded(tmp_path: Path) -> None:
    """It is read from no more while it leaves more than 1 MiB unread; then every answer comes."""
    async with served(tmp_path) as s, connected(s.path) as client, connected(s.path) as other:
        for n in range(100):
            await s.create(f"session-{n}")
        page = rpc.pack(await client.call("session.list"))
        (connection, *_) = s.server.clients
        async with trio.open_nursery() as nursery:
            asked = 500
            msgids = range(1000, 1000 + asked)
            requests = b"".join(rpc.request(msgid, "session.list", {}) for msgid in msgids)
            nursery.start_soon(client.send, requests)
            await trio.testing.wait_all_tasks_blocked()
            assert connection.out.blocked
            assert UNSENT < connection.out.size < UNSENT + 2 * len(page)
            await other.call("daemon.status")
            await expect(client, [rpc.result_head(msgid) + page for msgid in msgids])


async def expect(client: Client, answers: list[bytes]) -> None:
    """It gets these and no others, in any order."""
    size = sum(map(len, answers))
    got = bytearray()
    while len(got) < size:
        with trio.fail_after(DEADLINE):
            piece = await client.stream.receive_some(1 << 20)
        assert piece, "the connection ended"
        got += piece
    same = sorted(frames(bytes(got))) == sorted(answers)
    assert same, "they are others"  # to print how would take minutes


async def test_pages_are_read_only_for_who_takes_them(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client, connected(s.path) as other:
        await s.emit("", 500, size=1500)
        page = rpc.pack(await client.call("events.read", all=True, limit=1000))
        reads = s.store.counters["reads"]
        msgids = [await client.ask("events.read", all=True, limit=1000) for _ in range(100)]
        await wait_until(lambda: any(connection.out.size > UNSENT for connection in s.server.clients))
        for _ in range(3):
            await other.call("events.read", all=True, limit=1)
        assert s.store.counters["reads"] - reads < 20
        await expect(client, [rpc.result_head(msgid) + page for msgid in msgids])


async def half_closed(s: Served, client: Client) -> list[int]:
    """Requests of a client that will say no more; their answers are more than its socket takes."""
    for n in range(100):
        await s.create(f"session-{n}")
    await client.call("session.list")
    msgids = list(range(100, 120))
    await client.send(b"".join(rpc.request(msgid, "session.list", {}) for msgid in msgids))
    client.stream.socket.shutdown(socket.SHUT_WR)
    (connection,) = s.server.clients
    await wait_until(lambda: connection.out.blocked)
    return msgids


async def test_a_client_that_will_say_no_more_still_gets_its_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slowly it takes them."""
    monkeypatch.setattr(connection_module, "FAREWELL", 0.0)
    async with served(tmp_path) as s, connected(s.path) as client:
        msgids = await half_closed(s, client)
        await trio.testing.wait_all_tasks_blocked()
        for msgid in msgids:
            assert len((await client.answer(msgid))["sessions"]) == 100
        await client.wait_closed()


async def test_a_client_that_will_say_no_more_does_not_hold_the_end(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        await half_closed(s, client)
        await s.server.close("the daemon stops")
        assert not s.server.clients


async def test_who_did_it_is_recorded(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("authored")
        anonymous = (await client.call("turn.send", session=session, input="x"))["turn"]["author"]
        assert anonymous == {"kind": "client", "pid": os.getpid(), "uid": os.getuid(), "client": "", "session": None}
        await client.call("hello", protocol=1, client={"name": "tester", "version": "9"})
        assert (await client.call("turn.send", session=session, input="x"))["turn"]["author"]["client"] == "tester"
