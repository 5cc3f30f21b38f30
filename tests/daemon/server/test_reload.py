"""``daemon.reload``: what was read again holds for the next request, and for all who ask."""

from pathlib import Path

from helpers.served import CONFIG, connected, served
from helpers.waiting import wait_until
from roost.daemon.sessions.janitor import Janitor
from roost.protocol.errors import (
    FrameTooLarge,
    InvalidParams,
    InvalidSettings,
    QueueFull,
    ShuttingDown,
)
from roost.protocol.service import PROTOCOL


def rewrite(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.toml").write_text(config + CONFIG)


async def test_new_limits_and_engines_are_told_and_hold(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("a", "patient")
        limits = "limits.prompt = 4\nlimits.queue = 1\n"
        rewrite(tmp_path, f"{limits}sessions.default_engine = 'new'\n[engines.new]\ncommand = ['new']\n")
        result = await client.call("daemon.reload")
        names = ["engines.new", "limits.prompt", "limits.queue", "sessions.default_engine"]
        assert result == {"changed": names, "restart": []}
        said = await client.call("hello", protocol=PROTOCOL, client={"name": "tester"})
        assert (said["limits"]["prompt"], said["limits"]["queue"]) == (4, 1)
        engines = {engine["name"]: engine for engine in (await client.call("engine.list"))["engines"]}
        assert engines["new"] == {"name": "new", "kind": "worker", "command": ["new"], "default": True}
        assert not engines["shell"]["default"]
        assert isinstance(await client.error("turn.send", session=session, input="12345"), InvalidParams)
        await client.call("turn.send", session=session, input="1")
        await wait_until(lambda: (record := s.supervisor.records.by_id(session)) is not None and not record.queued)
        await client.call("turn.send", session=session, input="2")
        assert isinstance(await client.error("turn.send", session=session, input="3"), QueueFull)
        made = await client.call("session.create", workspace=str(tmp_path))
        assert made["session"]["engine"] == "new"
        assert await client.call("daemon.reload") == {"changed": [], "restart": []}


async def test_the_size_of_messages_holds_for_connections_made_from_then_on(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as before:
        session = await s.create("a", "patient")
        rewrite(tmp_path, "limits.request_frame = 4096\n")
        assert (await before.call("daemon.reload"))["changed"] == ["limits.request_frame"]
        hello = {"protocol": PROTOCOL, "client": {"name": "tester"}}
        assert (await before.call("hello", **hello))["limits"]["frame"] == 16 * 1024 * 1024, "as it is there"
        await before.call("turn.send", session=session, input="x" * 5000)
        async with connected(s.path) as after:
            assert (await after.call("hello", **hello))["limits"]["frame"] == 4096
            assert isinstance(await after.error("turn.send", session=session, input="x" * 5000), FrameTooLarge)


async def test_what_is_wrong_is_told_with_file_and_line_and_changes_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        rewrite(tmp_path, "limits.prompt = 4\nlimits.queue = 'many'\n")
        error = await client.error("daemon.reload")
        assert isinstance(error, InvalidSettings)
        assert error.data == {"key": "limits.queue", "file": str(tmp_path / "config.toml"), "line": 2}
        assert s.rooms.settings.limits.prompt == 1_000_000


async def test_a_daemon_that_stops_reloads_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        s.server.admit(unless="test")
        assert isinstance(await client.error("daemon.reload"), ShuttingDown)


async def test_more_turns_run_at_once(tmp_path: Path) -> None:
    """The queue is looked at when the settings have changed, however slow its poll."""
    slow = "sessions.poll = 1000\nlimits.max_running_turns = "
    async with served(tmp_path, config=f"{slow}1\n") as s, connected(s.path) as client:
        s.nursery.start_soon(Janitor(s.supervisor).run)
        for name in "abcd":
            await client.call("turn.send", session=await s.create(name, "patient"), input="x")
        await wait_until(lambda: len(s.supervisor.in_flight()) == 1)
        rewrite(tmp_path, f"{slow}3\n")
        await client.call("daemon.reload")
        await wait_until(lambda: len(s.supervisor.in_flight()) == 3)
