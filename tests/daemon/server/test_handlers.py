"""Every method has its handler, and each does over the wire what its summary says."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from helpers.served import Client, Served, connected, served
from roost.daemon.core.result import MAX_RESULT
from roost.daemon.core.said import Append, End, Start
from roost.daemon.server.handlers import HANDLERS
from roost.daemon.store import Tx, checkpoints
from roost.daemon.store.items import record
from roost.protocol import rpc
from roost.protocol.errors import (
    CheckpointNotFound,
    InvalidParams,
    ProtocolMismatch,
    SessionArchived,
    SessionNotFound,
    TimedOut,
    TurnNotQueued,
)
from roost.protocol.methods import METHODS
from roost.protocol.model import Author, ItemKind, ItemState
from roost.protocol.params import Done
from roost.protocol.service import PROTOCOL


def test_every_method_has_a_handler_of_its_own_name() -> None:
    assert list(HANDLERS) == list(METHODS)
    for method, given in HANDLERS.items():
        handler: Any = given
        assert handler.__name__ == method.replace(".", "_")
        assert handler.__module__.rpartition(".")[2] == (method.partition(".")[0] if "." in method else "rpc")


async def checked(caller: Client, method: str, **params: Any) -> Any:
    """The result, which is what its model says."""
    result = await caller.call(method, **params)
    METHODS[method].result.model_validate(result, strict=False)
    return result


async def test_hello_tells_who_is_there_and_what_it_takes(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        said = await checked(client, "hello", protocol=PROTOCOL, client={"name": "tester"})
        assert said["server"] == {"name": "roostd", "version": "1.2.3"}
        assert said["limits"]["prompt"] == 1_000_000
        error = await client.error("hello", protocol=99, client={"name": "tester"})
        assert isinstance(error, ProtocolMismatch) and error.data == {"client": 99, "daemon": PROTOCOL}
        assert "99" in error.message and "roost daemon restart" in error.message
        await client.call("daemon.status")


async def test_it_describes_itself(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        document = (await checked(client, "rpc.discover"))["openrpc"]
        assert {method["name"] for method in document["methods"]} >= set(METHODS)
        assert await client.call("rpc.discover") == {"openrpc": document}


async def test_the_daemon_tells_how_it_is(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("a", "sleep")
        running = (await client.call("turn.send", session=session, input="1000"))["turn"]["id"]
        await client.call("turn.send", session=session, input="1000")
        await started(client, session, running)
        status = await checked(client, "daemon.status")
        wanted = {"phase": "running", "sessions": 1, "running": 1, "queued": 1, "held": 0, "clients": 1, "pid": 4242}
        assert {name: status[name] for name in wanted} == wanted
        assert status["storage"] == {"ok": True, "path": str(s.store.path), "problem": None}
        stats = await checked(client, "daemon.stats")
        assert list(stats["in_flight"]) == [session] and stats["counters"]["clients"] == 1
        await client.call("turn.cancel", turn=running)
        await client.call("session.wait", session=session)
        status = await client.call("daemon.status")
        assert (status["running"], status["queued"], status["held"]) == (0, 1, 1)


async def started(client: Client, session: str, turn: str) -> None:
    await client.call("events.subscribe", session=session, after=0, kinds=["turn.started"])
    assert (await client.events(1))[0]["turn"] == turn


async def test_it_is_asked_to_stop_only_after_it_has_answered(tmp_path: Path) -> None:
    heard: list[tuple[str, bytes]] = []

    def request_shutdown(reason: str, author: Author) -> None:
        heard.append((reason, sock.recv(65536, socket.MSG_PEEK)))

    async with served(tmp_path, request_shutdown=request_shutdown) as s, connected(s.path) as client:
        with socket.socket(fileno=os.dup(client.stream.socket.fileno())) as sock:
            assert await checked(client, "daemon.shutdown", reason="upgrade") == Done().to_wire()
        assert heard == [("upgrade", rpc.response(1, {}))]


async def test_engines_are_listed(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        engines = (await checked(client, "engine.list"))["engines"]
        assert [engine["name"] for engine in engines] == ["patient", "shell", "sleep", "thinking"]
        assert [engine["name"] for engine in engines if engine["default"]] == ["shell"]


async def test_a_session_is_found_by_id_name_and_start_of_its_id_in_memory_or_not(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        made = (await checked(client, "session.create", workspace=str(tmp_path), name="a"))["session"]
        for ref in (made["id"], "a", made["id"][:9]):
            assert (await checked(client, "session.get", session=ref))["session"] == made
        error = await client.error("session.get", session="s-nobody")
        assert isinstance(error, SessionNotFound) and error.data == {"session": "s-nobody"}


async def test_sessions_are_listed_by_the_page(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        made = [await s.create(f"s{n}") for n in range(7)]
        await checked(client, "session.archive", session="s3")
        del made[3]
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await checked(client, "session.list", limit=2, cursor=cursor)
            found += [session["id"] for session in page["sessions"]]
            cursor = page["next"]
        assert sorted(found) == sorted(made)
        (archived,) = (await checked(client, "session.list", archived=True))["sessions"]
        assert archived["name"] == "s3"
        assert (await checked(client, "session.list", state="busy"))["sessions"] == []


async def test_a_page_of_large_records_is_cut_by_bytes(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        deep = tmp_path.joinpath(*["d" * 250] * 14)
        deep.mkdir(parents=True)
        made = {
            (await client.call("session.create", workspace=str(deep), name=f"s{n}"))["session"]["id"]
            for n in range(300)
        }
        first = await checked(client, "session.list", limit=1000)
        assert 0 < len(first["sessions"]) < 300
        rest = await checked(client, "session.list", limit=1000, cursor=first["next"])
        assert {session["id"] for session in first["sessions"] + rest["sessions"]} == made and rest["next"] is None
        assert len(first["sessions"]) + len(rest["sessions"]) == 300


async def test_the_life_of_a_session_over_the_wire(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("a")
        assert (await checked(client, "session.update", session="a", name="b"))["session"]["name"] == "b"
        await checked(client, "turn.send", session="b", input="x")
        assert (await checked(client, "session.wait", session="b"))["session"]["last_turn_state"] == "completed"
        assert (await checked(client, "session.start", session="b"))["session"]["id"] == session
        assert (await checked(client, "session.stop", session="b"))["session"]["state"] == "idle"
        assert (await checked(client, "session.archive", session="b"))["session"]["archived"]
        assert isinstance(await client.error("turn.send", session=session, input="x"), SessionArchived)
        assert not (await checked(client, "session.unarchive", session=session))["session"]["archived"]
        assert await checked(client, "session.delete", session=session) == {}
        assert isinstance(await client.error("session.get", session=session), SessionNotFound)


async def test_checkpoints_are_listed_and_their_state_is_given(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("a")
        assert (await checked(client, "session.state", session=session))["source"] == "none"
        assert isinstance(await client.error("session.state", session=session, name="n"), CheckpointNotFound)
        state = rpc.pack({"n": 1})
        await s.store.write(lambda tx: checkpoints.save(tx, session, name="latest", state=state, through_turn=None))
        assert (await checked(client, "session.state", session=session))["state"] == {"n": 1}
        saved = (await checked(client, "session.checkpoint", session=session, name="kept"))["checkpoint"]
        assert saved["name"] == "kept"
        listed = (await checked(client, "session.checkpoints", session=session))["checkpoints"]
        assert [checkpoint["name"] for checkpoint in listed] == ["kept", "latest"]


async def test_clear_reaches_its_owner(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        await s.create("a")
        assert (await client.error("session.clear", session="a")).name == "not_supported"


async def queue(client: Client, session: str, *prompts: str) -> list[str]:
    """Turns behind one that sleeps; its id comes first."""
    return [(await checked(client, "turn.send", session=session, input=p))["turn"]["id"] for p in ("1000", *prompts)]


async def test_queued_turns_are_edited_moved_removed_and_released(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("a", "sleep")
        first, second, third, fourth = await queue(client, session, "0", "0", "0")
        await started(client, session, first)
        assert (await checked(client, "turn.edit", turn=second, input="0.0"))["turn"]["input"] == "0.0"
        await checked(client, "turn.move", turn=fourth, before=second)
        await checked(client, "turn.move", turn=second, before=None)
        assert (await checked(client, "turn.remove", turn=third))["turn"]["state"] == "cancelled"
        waiting = (await checked(client, "turn.list", session="a", state="queued"))["turns"]
        assert [turn["id"] for turn in waiting] == [fourth, second]
        assert isinstance(await client.error("turn.edit", turn=first, input="x"), TurnNotQueued)
        cancelled = await checked(client, "turn.cancel", turn=first)
        assert cancelled["outcome"] == "requested" and cancelled["turn"]["cancelled_by"]["pid"] == os.getpid()
        assert (await checked(client, "turn.wait", turn=first))["turn"]["state"] == "cancelled"
        released = await checked(client, "session.release", session="a")
        assert released["released"] == 2 and released["session"]["hold"] is None
        assert (await checked(client, "turn.wait", turn=second))["turn"]["state"] == "completed"


async def test_turns_are_listed_by_the_page(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("a")
        sent = [(await client.call("turn.send", session=session, input="x"))["turn"]["id"] for _ in range(5)]
        await client.call("session.wait", session=session)
        page = await checked(client, "turn.list", session=session, limit=3)
        rest = await checked(client, "turn.list", session=session, limit=3, cursor=page["next"])
        assert [turn["id"] for turn in page["turns"] + rest["turns"]] == sent and rest["next"] is None
        newest = await checked(client, "turn.list", session=session, limit=1, newest=True)
        assert newest["turns"][0]["id"] == sent[-1]


@pytest.mark.parametrize(("method", "ref"), [("turn.wait", "turn"), ("session.wait", "session")])
async def test_a_wait_has_a_limit_and_only_the_waiting_ends(tmp_path: Path, method: str, ref: str) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("a", "sleep")
        (turn,) = await queue(client, session)
        error = await client.error(method, **{ref: turn if ref == "turn" else session}, timeout=30)
        assert isinstance(error, TimedOut) and error.data == {"timeout": 30}
        assert (await client.call("turn.get", turn=turn))["turn"]["state"] in ("queued", "running")
        await client.call("session.delete", session=session, force=True)


async def turn_with_items(s: Served, client: Client, prompt: str, *contents: str) -> str:
    """A turn that runs, with items of these contents that have ended."""
    session = await s.create("a", "patient")
    turn = str((await client.call("turn.send", session=session, input=prompt))["turn"]["id"])
    await started(client, session, turn)

    def operation(tx: Tx) -> None:
        for n, content in enumerate(contents):
            begin, end = Start(f"i-{n}", ItemKind.agent_message, "ours", {}), End(f"i-{n}", ItemState.completed, {})
            record(tx, turn, [begin, Append(f"i-{n}", content), end])

    await s.store.write(operation)
    return turn


@pytest.mark.parametrize("prompt", ["x", "x" * 900_000, "x" * 1_000_000])
async def test_a_turn_comes_with_its_items_by_the_page_however_long_its_prompt(tmp_path: Path, prompt: str) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        turn = await turn_with_items(s, client, prompt, *["y" * 100_000] * 12)
        seen: list[Any] = []
        after: int | None = 0
        while after is not None:
            page = await checked(client, "turn.get", turn=turn, after=after)
            assert page["turn"]["input"] == prompt and len(rpc.pack(page)) < MAX_RESULT
            seen += page["items"]
            after = page["next"]
        assert [item["number"] for item in seen] == list(range(1, len(seen) + 1))
        seen = [item for item in seen if item["title"] == "ours"]
        assert len(seen) == 12
        cut = len(prompt) == 1_000_000
        assert {item["content"] for item in seen} == {"" if cut else "y" * 100_000}
        assert {item["truncated"] for item in seen} == {cut}
        whole = await client.call("item.read", item=seen[-1]["id"])
        assert whole["data"] == b"y" * 100_000


async def test_an_item_is_read_a_piece_at_a_time(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        turn = await turn_with_items(s, client, "x", "é" * 300_000)
        items = (await client.call("turn.get", turn=turn))["items"]
        (item,) = (item for item in items if item["title"] == "ours")
        assert item["truncated"]
        data = b""
        offset: int | None = 0
        while offset is not None:
            piece = await checked(client, "item.read", item=item["id"], offset=offset, limit=100_001)
            data += piece["data"]
            offset = piece["next"]
            assert piece["bytes"] == 600_000
        assert data.decode() == "é" * 300_000


@pytest.mark.parametrize("number", [2**53 + 1, 2**63, 2**64 - 1])
async def test_a_number_too_large_is_refused_by_its_name(tmp_path: Path, number: int) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        turn = await turn_with_items(s, client, "x", "y")
        item = (await client.call("turn.get", turn=turn))["items"][0]["id"]
        for method, field, given in (
            ("events.read", "after", {"all": True}),
            ("events.read", "after", {"session": "a"}),
            ("events.subscribe", "after", {"session": "a"}),
            ("turn.get", "after", {"turn": turn}),
            ("turn.list", "cursor", {"session": "a"}),
            ("turn.send", "timeout", {"session": "a", "input": "x"}),
            ("turn.send", "idle_timeout", {"session": "a", "input": "x"}),
            ("item.read", "offset", {"item": item}),
            ("session.stderr", "offset", {"session": "a"}),
        ):
            error = await client.error(method, **given, **{field: number})
            assert isinstance(error, InvalidParams) and error.data["field"] == field
            assert error.message == f"{method}: {field} should be less than or equal to {2**53}"


async def test_events_are_read_by_the_page(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("a")
        await s.emit(session, 9)
        page = await checked(client, "events.read", session="a", after=2, limit=5)
        assert [event["seq"] for event in page["events"]] == [3, 4, 5, 6, 7]
        assert (page["next"], page["more"]) == (7, True)
        page = await checked(client, "events.read", all=True, after=7, kinds=["session."])
        assert [event["offset"] for event in page["events"]] == [8, 9, 10] and not page["more"]
        assert isinstance(await client.error("events.read", session="a", all=True), InvalidParams)


async def test_stderr_is_read_by_the_piece(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("one")
        assert (await checked(client, "session.stderr", session="one"))["data"] == b""
        await s.supervisor.launches.stderr.keeper(session)(b"\xff" * 300_000)
        page = await checked(client, "session.stderr", session="one", offset=0, limit=262_144)
        assert page["data"] == b"\xff" * 262_144 and page["next"] == 262_144 and page["bytes"] == 300_000
        assert (await checked(client, "session.stderr", session="one", limit=5))["offset"] == 299_995
        for wrong in ({"limit": 262_145}, {"limit": 0}, {"offset": -1}):
            assert isinstance(await client.error("session.stderr", session="one", **wrong), InvalidParams)
        assert isinstance(await client.error("session.stderr", session="none"), SessionNotFound)
