"""Who gets in, what is admitted, and how the server ends."""

import os
import resource
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest
import trio

from helpers.served import connected, served
from helpers.waiting import wait_until
from roost.protocol import rpc
from roost.protocol.errors import DatabaseDamaged, LimitReached, PeerRefused, ShuttingDown, StorageFailed
from roost.protocol.events import DAEMON_STOPPED
from roost.protocol.methods import METHODS


async def test_one_client_too_many_is_told_so_and_let_in_when_another_left(tmp_path: Path) -> None:
    async with served(tmp_path) as s, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(s.path)) for _ in range(256)]
        await clients[-1].call("daemon.status")
        async with connected(s.path) as late:
            error = await late.error("session.list")
            assert isinstance(error, LimitReached) and error.data == {"limit": 256}
            await late.wait_closed()
        await clients[0].stream.aclose()
        await wait_until(lambda: len(s.server.clients) == 255)
        async with connected(s.path) as late:
            assert (await late.call("daemon.status"))["clients"] == 256


async def test_a_crowd_of_refused_clients_is_closed_without_a_word(tmp_path: Path) -> None:
    async with served(tmp_path, clients=0) as s, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(s.path)) for _ in range(17)]
        await clients[-1].wait_closed()
        assert isinstance(await clients[0].error("daemon.status"), LimitReached)


@pytest.mark.parametrize("sent", [b"", rpc.notification("rpc.cancel", {"msgid": 1}), b"\xc1", b"\x93" * 70_000])
async def test_a_refused_client_that_asks_nothing_is_closed(tmp_path: Path, sent: bytes) -> None:
    async with served(tmp_path, clients=0) as s:
        async with connected(s.path) as client:
            await client.send(sent)
            await client.wait_closed()
            assert client.order == []
        async with connected(s.path) as client:
            await client.send(sent)


async def test_a_refused_client_that_has_left_is_forgotten(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with served(tmp_path, clients=0) as s:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(s.path))
            client.sendall(rpc.request(1, "daemon.status", {}))
        async with connected(s.path) as late:
            await late.error("daemon.status")
    assert not [record for record in caplog.records if record.exc_info]


STRANGER = """
import os, socket, sys
os.chdir(sys.argv[1])
os.setuid(65534)
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect("roost.sock")
    sock.sendall(bytes.fromhex(sys.argv[2]))
    sys.stdout.buffer.write(sock.recv(65536))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("allowed", [list[int](), [65534]])
async def test_a_stranger_is_refused_and_one_who_is_allowed_is_not(tmp_path: Path, allowed: list[int]) -> None:
    async with served(tmp_path, mode=0o666, config=f"daemon.allowed_uids = {allowed}\n") as s:
        s.path.parent.chmod(0o711)
        request = rpc.request(5, "engine.list", {})
        command = [sys.executable, "-c", STRANGER, str(s.path.parent), request.hex()]
        answer = (await trio.run_process(command, capture_stdout=True)).stdout
        (response,) = rpc.Connection().receive(answer)
        assert isinstance(response, rpc.Response) and response.msgid == 5
        if allowed:
            assert response.error is None
        else:
            assert response.error["name"] == PeerRefused.name
            assert response.error["data"]["uid"] == 65534 and "allowed_uids" in response.error["message"]


@contextmanager
def no_descriptors_left() -> Generator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_without_descriptors_it_waits_and_then_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with served(tmp_path) as s:
        with trio.socket.socket(trio.socket.AF_UNIX) as sock:
            with no_descriptors_left():
                await sock.connect(str(s.path))
                await wait_until(lambda: "cannot accept" in caplog.text)
                assert len(s.server.clients) == 0
            await wait_until(lambda: len(s.server.clients) == 1)


CHANGES = {method for method, row in METHODS.items() if row.changes}


def test_what_changes_something_says_so() -> None:
    assert {method for method in METHODS if method.startswith(("turn.", "session."))} - CHANGES == {
        *("session.get", "session.list", "session.state", "session.checkpoints", "session.stderr", "session.wait"),
        *("turn.get", "turn.list", "turn.wait"),
    }


async def test_a_verb_that_does_not_say_that_it_changes_something_writes_nothing(tmp_path: Path) -> None:
    """Else a verb that was forgotten would be admitted while the daemon stops. Each is really done: none is refused."""
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("there", engine="sleep")
        turn = (await client.call("turn.send", session=session, input="0"))["turn"]["id"]
        await client.call("turn.wait", turn=turn)
        await client.call("session.wait", session=session)
        [item, *_] = (await client.call("turn.get", turn=turn))["items"]
        given = {"session": session, "turn": turn, "item": item["id"], "all": True, "protocol": 1, "msgid": 0}
        given |= {"client": {"name": "t"}}
        await s.emit("", 1)
        operations = s.store.counters["operations"]
        for method, row in METHODS.items():
            wanted = {field: value for field, value in given.items() if field in row.params.model_fields}
            if "all" in wanted:
                del wanted["session"]
            if not row.changes:
                result = await client.call(method, **wanted)
                given |= {"subscription": result["subscription"]} if method == "events.subscribe" else {}
        await s.emit("", 1)  # what nobody waited for has been written before it
        assert s.store.counters["operations"] == operations + 1


async def test_while_it_stops_nothing_new_is_admitted_and_reads_go_on(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("there")
        s.server.admit(unless="SIGTERM")
        for method in CHANGES:
            error = await client.error(method)
            assert isinstance(error, ShuttingDown) and "SIGTERM" in error.message
        assert (await client.call("daemon.status"))["phase"] == "stopping"
        assert (await client.call("session.get", session="there"))["session"]["id"] == session
        assert len((await client.call("events.read", session=session))["events"]) == 1
        await client.call("session.wait", session=session)
        s.server.admit(unless=None)
        await client.call("session.update", session=session, name="here")


async def test_without_a_database_every_call_is_answered_with_the_reason(tmp_path: Path) -> None:
    damaged = DatabaseDamaged("/x/roost.db is damaged: look at it", path="/x/roost.db")
    async with served(tmp_path, supervisor=None, store=None, refused=damaged) as s, connected(s.path) as client:
        answered = {method for method, row in METHODS.items() if row.always}
        assert answered == {"hello", *(m for m in METHODS if m.startswith(("rpc.", "daemon.")))} - {"daemon.reload"}
        for method in set(METHODS) - answered:
            error = await client.error(method)
            assert isinstance(error, DatabaseDamaged) and error.data == damaged.data
        status = await client.call("daemon.status")
        assert status["phase"] == "refused"
        stats = await client.call("daemon.stats")
        assert [one["pid"] for one in stats["processes"]] == [os.getpid()] and stats["counters"]["clients"] == 1
        assert status["storage"]["problem"] == damaged.to_wire() and not status["storage"]["ok"]
        await client.call("hello", protocol=1, client={"name": "t"})
        await client.call("rpc.discover")
        await client.call("rpc.cancel", msgid=0)
        await client.call("daemon.shutdown")
        assert s.shutdowns == ["user"]


async def test_the_status_tells_of_a_full_disk(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        s.store.problem = StorageFailed("the disk is full; free some space")
        status = await client.call("daemon.status")
        assert (status["phase"], status["storage"]["ok"]) == ("running", False)
        assert status["storage"]["problem"]["name"] == "storage_failed"


async def test_the_end_is_told_to_subscriptions_and_to_requests_that_wait(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        subscribed = await client.call("events.subscribe", all=True, after=0)
        async with s.busy_writer():
            waiting = await client.ask("session.create", workspace=str(tmp_path))
            await wait_until(lambda: s.store.counters["waiting"] == 1)
            await s.server.close("SIGTERM")
            with pytest.raises(ShuttingDown, match=r"session\.create"):
                await client.answer(waiting)
        end = await client.note()
        assert (end.method, end.params["reason"], end.params["after"]) == ("events.end", "shutting_down", 0)
        assert end.params["subscription"] == subscribed["subscription"]
        await client.wait_closed()


@pytest.mark.parametrize("live", [True, False] * 4)  # Trio runs what is ready in any order
async def test_the_last_event_comes_before_the_end(tmp_path: Path, live: bool) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        await client.call("events.subscribe", all=True)
        if live:
            await s.emit("", 1)
            await client.events(1)
        await s.emit("", 1, DAEMON_STOPPED)
        await s.server.close("SIGTERM")
        assert (await client.events(1))[0]["kind"] == "daemon.stopped"
        assert (await client.note()).params["reason"] == "shutting_down"


STUCK = """
import os, signal, socket, sys
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
sock.sendall(bytes.fromhex(sys.argv[2]))
sock.recv(1, socket.MSG_PEEK)
os.write(1, b"subscribed")
os.kill(os.getpid(), signal.SIGSTOP)
"""


async def test_a_stopped_client_delays_neither_others_nor_the_end(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        request = rpc.request(1, "events.subscribe", {"all": True, "after": 0})
        command = [sys.executable, "-c", STUCK, str(s.path), request.hex()]
        stuck = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
        try:
            assert stuck.stdout is not None and await stuck.stdout.receive_some()
            await client.call("events.subscribe", all=True, after=0)
            for _ in range(20):
                await s.emit("", 250, size=1000)
                await client.call("daemon.status")
            assert [event["offset"] for event in await client.events(5000)] == list(range(1, 5001))
            (connection,) = (each for each in s.server.clients if each.client.author.pid == stuck.pid)
            assert connection.out.blocked
            with trio.fail_after(10):
                await s.server.close("SIGTERM")
            assert not s.server.clients
        finally:
            stuck.kill()
            await stuck.wait()
