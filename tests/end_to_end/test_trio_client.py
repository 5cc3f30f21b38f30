"""The Trio client against a real daemon."""

import json
import os
import signal
from pathlib import Path

import pytest
import trio

import roost.client
from helpers.daemon import DEADLINE, Daemon
from roost.protocol.errors import DaemonUnreachable, SessionNotFound, TimedOut


@pytest.fixture
def daemon(shared: Daemon) -> Daemon:
    return shared


async def test_a_tool_sends_and_follows_at_once(daemon: Daemon) -> None:
    with trio.fail_after(DEADLINE):
        async with roost.client.connect(str(daemon.socket), name="tool") as client:
            created = await client.call("session.create", {"workspace": str(daemon.workspace)})
            session = created["session"]["id"]
            sent = await client.call("turn.send", {"session": session, "input": "seq 1 3000"})
            assert sent["turn"]["author"]["client"] == "tool"
            text = ""
            async for event in client.events(session, after=0):
                if event["kind"] == "item.delta":
                    text += event["data"]["text"]
                    assert (await client.call("session.get", {"session": session}))["session"]["id"] == session
                if event["kind"] == "turn.completed":
                    break
    assert text.split() == [str(n) for n in range(1, 3001)]


async def test_the_feed_of_all_is_what_can_be_read(daemon: Daemon) -> None:
    async with roost.client.connect(str(daemon.socket)) as client:
        events = client.events(after=0, follow=False)
        assert [event async for event in events] == daemon.events()
        assert events.reason == "complete"


async def test_a_feed_ends_with_its_session(daemon: Daemon) -> None:
    async with roost.client.connect(str(daemon.socket)) as client:
        session = daemon.create()
        feed = client.events(session, after=0)
        assert (await anext(feed))["kind"] == "session.created"
        await client.call("session.delete", {"session": session})
        with trio.fail_after(DEADLINE):
            async for _ in feed:
                pass
        assert feed.reason == "session_deleted"


async def test_errors_are_the_daemons_own(daemon: Daemon) -> None:
    async with roost.client.connect(str(daemon.socket)) as client:
        with pytest.raises(SessionNotFound):
            await client.call("session.get", {"session": "nobody"})
        session = daemon.create()
        turn = daemon.send(session, "sleep 60")
        with pytest.raises(TimedOut):
            await client.call("turn.wait", {"turn": turn, "timeout": 10})
        with trio.move_on_after(0.05) as waiting:
            await client.call("turn.wait", {"turn": turn})
        assert waiting.cancelled_caught
        await client.call("turn.cancel", {"turn": turn})
        assert (await client.call("turn.wait", {"turn": turn}))["turn"]["state"] == "cancelled"


async def test_a_tool_may_start_the_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOST_STATE_DIRECTORY", str(tmp_path / "state"))
    with pytest.raises(DaemonUnreachable):
        async with roost.client.connect():
            pass
    async with roost.client.connect(start=True) as client:
        pid = (await client.call("daemon.status"))["pid"]
        feed = client.events(after=0)
        with trio.fail_after(DEADLINE):
            assert (await anext(feed))["kind"] == "daemon.started"
        os.kill(pid, signal.SIGTERM)
        with trio.fail_after(DEADLINE):
            kinds = [event["kind"] async for event in feed]
        assert feed.reason == "shutting_down"
        assert json.dumps(kinds) in ("[]", '["daemon.stopped"]')
