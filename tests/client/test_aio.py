"""The Trio client, against a peer on a real socket."""

import contextlib
import gc
import weakref
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import roost.client
from helpers.peer import Peer, peer
from roost.protocol import rpc
from roost.protocol.errors import (
    ConnectionLost,
    DaemonUnreachable,
    InternalError,
    InvalidParams,
    ProtocolMismatch,
    SessionNotFound,
)

DEADLINE = 20


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "s")


@pytest.fixture
def daemon(path: str) -> Generator[Peer]:
    with peer(
        Path(path),
        a=lambda params: {"a": params},
        slow=lambda _: None,
        events_subscribe=lambda params: {"subscription": "e-1", "after": params.get("after", 7)},
    ) as made:
        yield made


async def heard(daemon: Peer, method: str) -> dict[str, Any]:
    return await trio.to_thread.run_sync(daemon.wait_heard, method)


def event(seq: int) -> bytes:
    return rpc.notification("event", {"seq": seq, "offset": seq + 100, "session": "s-a", "kind": "x", "data": {}})


def end(reason: str, after: int = 3) -> bytes:
    return rpc.notification("events.end", {"subscription": "e-1", "reason": reason, "after": after, "message": "why"})


async def test_calls_overlap(daemon: Peer, path: str) -> None:
    results: list[dict[str, Any]] = []
    with trio.fail_after(DEADLINE):
        async with roost.client.connect(path, name="tool") as client, trio.open_nursery() as nursery:
            nursery.start_soon(client.call, "slow")
            await heard(daemon, "slow")
            for n in range(20):  # more than the daemon lets wait at once

                async def ask(n: int = n) -> None:
                    results.append(await client.call("a", {"n": n}))

                nursery.start_soon(ask)
            while len(results) < 20:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert sorted(result["a"]["n"] for result in results) == list(range(20))
    assert dict(daemon.heard)["hello"]["client"]["name"] == "tool"


async def test_an_error_is_raised_as_its_class_and_in_no_group(daemon: Peer, path: str) -> None:
    def refuse(params: object) -> None:
        raise SessionNotFound("there is none", session="x")

    daemon.answers["session.get"] = refuse
    with pytest.raises(SessionNotFound, match="there is none"):
        async with roost.client.connect(path) as client:
            await client.call("session.get", {"session": "x"})


async def test_a_cancelled_call_is_withdrawn(daemon: Peer, path: str) -> None:
    async with roost.client.connect(path) as client:
        with trio.move_on_after(0.05):
            await client.call("slow")
        with trio.fail_after(DEADLINE):
            assert await heard(daemon, "rpc.cancel") == {"msgid": 2}
            assert await client.call("a") == {"a": {}}


async def test_what_is_over_the_limits_is_not_sent(daemon: Peer, path: str) -> None:
    async with roost.client.connect(path) as client:
        with pytest.raises(InvalidParams, match="20000000 bytes"):
            await client.call("turn.send", {"input": "x" * 20_000_000})
        assert await client.call("a") == {"a": {}}
    assert "turn.send" not in dict(daemon.heard)


async def test_a_daemon_that_leaves_ends_every_call(daemon: Peer, path: str) -> None:
    async with roost.client.connect(path) as client:
        with pytest.RaisesGroup(ConnectionLost, ConnectionLost):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.call, "slow")
                nursery.start_soon(client.call, "slow")
                await heard(daemon, "slow")
                daemon.hang_up()
        with pytest.raises(ConnectionLost):
            await client.call("a")


async def test_events_come_in_order_and_calls_may_be_made_between(daemon: Peer, path: str) -> None:
    with trio.fail_after(DEADLINE):
        async with roost.client.connect(path) as client:
            feed = client.events("s-a", after=0, kinds=["x"])
            seen: list[int] = []
            daemon.answers["events.subscribe"] = lambda _: daemon.say(
                rpc.response(2, {"subscription": "e-1", "after": 0}) + event(1) + event(2) + event(3) + end("complete")
            )
            async for found in feed:
                seen.append(found["seq"])
                assert feed.after == found["seq"]
                assert await client.call("a") == {"a": {}}
    assert (seen, feed.reason, feed.after) == ([1, 2, 3], "complete", 3)
    assert dict(daemon.heard)["events.subscribe"] == {"session": "s-a", "after": 0, "kinds": ["x"], "follow": True}


async def test_of_all_sessions_the_cursor_is_the_offset(daemon: Peer, path: str) -> None:
    async with roost.client.connect(path) as client, client.events(follow=False) as feed:
        daemon.answers["events.subscribe"] = lambda _: daemon.say(
            rpc.response(2, {"subscription": "e-1", "after": 7}) + event(1)
        )
        assert (await anext(feed))["seq"] == 1
        assert feed.after == 101
    assert dict(daemon.heard)["events.subscribe"] == {"all": True, "follow": False}


async def test_a_feed_that_is_cut_off_says_where_to_go_on(daemon: Peer, path: str) -> None:
    async with roost.client.connect(path) as client:
        feed = client.events("s-a", after=5)
        daemon.answers["events.subscribe"] = lambda _: daemon.say(
            rpc.response(2, {"subscription": "e-1", "after": 5}) + event(6)
        )
        assert (await anext(feed))["seq"] == 6
        daemon.hang_up()
        with pytest.raises(ConnectionLost, match="subscribe again after 6") as caught:
            await anext(feed)
        assert caught.value.data["after"] == 6


async def test_a_feed_that_failed_in_the_daemon_raises(daemon: Peer, path: str) -> None:
    async with roost.client.connect(path) as client:
        feed = client.events("s-a", after=0)
        daemon.answers["events.subscribe"] = lambda _: daemon.say(
            rpc.response(2, {"subscription": "e-1", "after": 0}) + end("failed")
        )
        with pytest.raises(InternalError, match="why"):
            await anext(feed)


async def test_a_loop_that_is_left_early_leaves_nothing_open(daemon: Peer, path: str) -> None:
    async with roost.client.connect(path) as client:
        daemon.answers["events.subscribe"] = lambda _: daemon.say(
            rpc.response(2, {"subscription": "e-1", "after": 0}) + event(1) + event(2)
        )
        async for _ in client.events("s-a", after=0):
            break
    with trio.fail_after(DEADLINE):
        await trio.to_thread.run_sync(daemon.wait_left)


@pytest.mark.parametrize("step", ["hello", "events.subscribe"])
async def test_a_first_step_that_was_cancelled_may_be_made_again(daemon: Peer, path: str, step: str) -> None:
    with trio.fail_after(DEADLINE):
        async with roost.client.connect(path) as client:
            feed = client.events("s-a", after=0)
            answer = daemon.answers[step]
            daemon.answers[step] = lambda _: None
            daemon.heard.clear()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(anext, feed)
                await heard(daemon, step)
                nursery.cancel_scope.cancel()
            daemon.answers[step] = answer
            daemon.answers["events.subscribe"] = lambda _: daemon.say(
                rpc.response(2, {"subscription": "e-1", "after": 0}) + event(1)
            )
            assert (await anext(feed))["seq"] == 1
        await trio.to_thread.run_sync(daemon.wait_left)


async def test_a_feed_that_was_refused_has_ended(daemon: Peer, path: str) -> None:
    def refuse(params: object) -> None:
        raise SessionNotFound("there is none", session="s-nope")

    daemon.answers["events.subscribe"] = refuse
    with trio.fail_after(DEADLINE):
        async with roost.client.connect(path) as client:
            feed = client.events("s-nope", after=0)
            with pytest.raises(SessionNotFound):
                await anext(feed)
            assert [event async for event in feed] == []
        await trio.to_thread.run_sync(daemon.wait_left)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("subscribed", [False, True])
async def test_a_feed_that_another_task_closes_ends(daemon: Peer, path: str, whole: bool, subscribed: bool) -> None:
    seen: list[int] = []
    with trio.fail_after(DEADLINE):
        async with roost.client.connect(path) as client:
            feed = client.events("s-a", after=0)
            daemon.answers["events.subscribe"] = lambda _: (
                daemon.say(rpc.response(2, {"subscription": "e-1", "after": 0}) + event(1)) if subscribed else None
            )

            async def follow() -> None:
                seen.extend([event["seq"] async for event in feed])

            async with trio.open_nursery() as nursery:
                nursery.start_soon(follow)
                await heard(daemon, "events.subscribe")
                while subscribed and feed.after == 0:
                    await trio.lowlevel.checkpoint()
                await trio.testing.wait_all_tasks_blocked()
                (client if whole else feed).close()
    assert (seen, feed.reason) == ([1] if subscribed else [], None)


async def test_a_feed_that_was_closed_before_it_began_never_subscribes(daemon: Peer, path: str) -> None:
    async with roost.client.connect(path) as client:
        feed = client.events("s-a", after=0)
        feed.close()
        assert [event async for event in feed] == []
    assert "events.subscribe" not in dict(daemon.heard)


@pytest.mark.parametrize("reason", ["complete", "failed"])
async def test_a_feed_that_has_ended_is_forgotten(daemon: Peer, path: str, reason: str) -> None:
    daemon.answers["events.subscribe"] = lambda _: daemon.say(
        rpc.response(2, {"subscription": "e-1", "after": 0}) + end(reason)
    )
    async with roost.client.connect(path) as client:
        feed: Any = client.events("s-a", follow=False)
        with contextlib.suppress(InternalError):
            await anext(feed, None)
        gone = weakref.ref(feed)
        del feed
        gc.collect()
        assert gone() is None


async def test_nobody_listens(path: str) -> None:
    with pytest.raises(DaemonUnreachable, match="roost daemon start"):
        async with roost.client.connect(path):
            pass


async def test_another_protocol(daemon: Peer, path: str) -> None:
    daemon.answers["hello"] = lambda _: {"protocol": 9}
    with pytest.raises(ProtocolMismatch, match="roost daemon restart"):
        async with roost.client.connect(path):
            pass


async def test_a_daemon_that_does_not_greet(daemon: Peer, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon.answers["hello"] = lambda _: None
    monkeypatch.setattr("roost.client.aio.HELLO_SECONDS", 0.05)
    with pytest.raises(DaemonUnreachable, match="does not answer"):
        async with roost.client.connect(path):
            pass


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        roost.client.nonsense  # noqa: B018
