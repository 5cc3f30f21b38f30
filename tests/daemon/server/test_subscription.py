"""History, then live: every event once, in order, whatever happens meanwhile."""

import socket
import sqlite3
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from helpers.served import Client, connected, served
from helpers.waiting import wait_until
from roost.daemon.server.subscription import Subscription
from roost.protocol import rpc
from roost.protocol.errors import (
    InvalidParams,
    LimitReached,
    SessionNotFound,
    SubscriptionNotFound,
    SubscriptionOverlap,
)
from roost.protocol.events import TURN_MOVED


def seqs(events: list[dict[str, Any]]) -> list[int]:
    return [event["seq"] for event in events]


async def ended(client: Client) -> dict[str, Any]:
    note = await client.note()
    assert note.method == "events.end", note
    params: dict[str, Any] = note.params
    return params


def mistaken(*_: object) -> None:
    raise ZeroDivisionError("division by zero")


async def test_it_is_answered_before_its_first_event(tmp_path: Path) -> None:
    """Only what is after the number, ascending."""
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("a")
        await s.emit(session, 9)
        result = await client.call("events.subscribe", session=session, after=3)
        assert result["after"] == 3
        assert seqs(await client.events(7)) == [4, 5, 6, 7, 8, 9, 10]
        assert isinstance(client.order[0], rpc.Response)


async def test_who_names_no_number_sees_only_what_comes(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("a")
        await s.emit(session, 4)
        assert (await client.call("events.subscribe", session="a"))["after"] == 5
        await s.emit(session, 1)
        assert seqs(await client.events(1)) == [6]


async def test_all_is_every_session_and_the_daemon_in_the_daemons_order(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        a, b = await s.create("a"), await s.create("b")
        await s.emit("", 1)
        await client.call("events.subscribe", all=True, after=1)
        await s.emit(a, 1)
        events = await client.events(3)
        assert [(event["session"], event["offset"]) for event in events] == [(b, 2), (None, 3), (a, 4)]


async def test_a_filter_lets_its_kinds_through_and_passes_over_the_others(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("a")
        await s.emit(session, 3)
        subscription = await client.call(
            "events.subscribe", session=session, after=0, kinds=["session.created", "turn."]
        )
        assert [event["kind"] for event in await client.events(1)] == ["session.created"]
        await s.emit(session, 3)
        await s.emit(session, 1, TURN_MOVED)
        await s.emit(session, 2)
        assert [(event["kind"], event["seq"]) for event in await client.events(1)] == [("turn.moved", 8)]
        await client.call("events.unsubscribe", **{"subscription": subscription["subscription"]})
        assert (await ended(client))["after"] == 10


async def test_an_empty_filter_is_none(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        await client.call("events.subscribe", all=True, kinds=[])
        await s.emit("", 1)
        assert seqs(await client.events(1)) == [1]


@pytest.mark.parametrize(("kind", "hint"), [("turn.finished", "turn."), ("turn", "turn."), ("zzz", "noun")])
async def test_a_kind_that_does_not_exist_is_refused(tmp_path: Path, kind: str, hint: str) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        for method in ("events.subscribe", "events.read"):
            error = await client.error(method, all=True, kinds=[kind])
            assert isinstance(error, InvalidParams) and hint in error.message and error.data["kind"] == kind


async def test_without_follow_it_ends_after_what_there_is(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("a")
        await s.emit(session, 2500)
        await client.call("events.subscribe", session=session, after=0, follow=False)
        assert seqs(await client.events(2501)) == list(range(1, 2502))
        end = await ended(client)
        assert (end["reason"], end["after"]) == ("complete", 2501)
        result = await client.call("events.subscribe", session=session, follow=False)
        assert (await ended(client)) == {
            **{"subscription": result["subscription"], "reason": "complete", "after": 2501, "message": ""}
        }


async def test_a_number_from_another_database_is_refused(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("a")
        error = await client.error("events.subscribe", session=session, after=900)
        assert isinstance(error, InvalidParams) and error.data["after"] == 900 and error.data["last"] == 1
        assert "900" in error.message and " 1" in error.message
        await client.call("events.subscribe", session=session, after=1)
        assert len(s.rooms.hub) == 1


async def test_feeds_of_one_connection_may_not_overlap(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        a, b = await s.create("a"), await s.create("b")
        first = await client.call("events.subscribe", session=a)
        await client.call("events.subscribe", session=b)
        for feed in ({"session": "a"}, {"all": True}):
            assert isinstance(await client.error("events.subscribe", **feed), SubscriptionOverlap)
        await client.call("events.unsubscribe", subscription=first["subscription"])
        await client.call("events.subscribe", session=a)
        async with connected(s.path) as other:
            await other.call("events.subscribe", all=True)
            assert isinstance(await other.error("events.subscribe", session=a), SubscriptionOverlap)
            assert (await other.call("daemon.status"))["subscriptions"] == 3
        await wait_until(lambda: len(s.rooms.hub) == 2)


async def test_two_at_once_for_the_same_session_are_one_too_many(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("a")
        first = await client.ask("events.subscribe", session=session)
        second = await client.ask("events.subscribe", session=session)
        with pytest.raises(SubscriptionOverlap):
            await client.answer(second)
        await client.answer(first)


async def test_a_connection_has_a_bounded_number_of_them(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        for n in range(256):
            await client.call("events.subscribe", session=await s.create(f"s{n}"))
        await s.create("last")
        assert isinstance(await client.error("events.subscribe", session="last"), LimitReached)


async def test_its_end_is_said_with_the_last_event_sent(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("a")
        result = await client.call("events.subscribe", session=session)
        await s.emit(session, 2)
        assert seqs(await client.events(2)) == [2, 3]
        msgid = await client.ask("events.unsubscribe", subscription=result["subscription"])
        end = await ended(client)
        assert (end["reason"], end["after"]) == ("unsubscribed", 3)
        assert await client.answer(msgid) == {}
        assert isinstance(client.order[-2], rpc.Response), "the answer comes before the end"
        await s.emit(session, 1)
        error = await client.error("events.unsubscribe", subscription=result["subscription"])
        assert isinstance(error, SubscriptionNotFound)
        assert not client.notes


@pytest.mark.parametrize(("by", "reason"), [("violation", "failed"), ("half close", "unsubscribed")])
async def test_the_end_of_its_connection_is_said_too(tmp_path: Path, by: str, reason: str) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        await client.call("events.subscribe", all=True)
        if by == "violation":
            await client.send(b"\xc1")
        else:
            client.stream.socket.shutdown(socket.SHUT_WR)
        assert (await ended(client))["reason"] == reason
        await client.wait_closed()


async def test_a_session_that_is_deleted_ends_its_feed_after_its_last_event(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client, connected(s.path) as all_of_it:
        session = await s.create("a")
        await client.call("events.subscribe", session=session, after=0)
        await all_of_it.call("events.subscribe", all=True, after=0)
        # What they have not read yet would be gone with the session, and be told as that.
        assert [(await one.events(1))[0]["kind"] for one in (client, all_of_it)] == ["session.created"] * 2
        await client.call("session.delete", session=session)
        assert [(await one.events(1))[0]["kind"] for one in (client, all_of_it)] == ["session.deleted"] * 2
        end = await ended(client)
        assert (end["reason"], end["after"]) == ("session_deleted", 2)
        assert len(s.rooms.hub) == 1
        assert isinstance(await client.error("events.subscribe", session=session), SessionNotFound)


async def test_an_event_is_on_disk_before_anybody_sees_it(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        await client.call("events.subscribe", all=True)
        with sqlite3.connect(s.store.path) as other:
            for _ in range(50):
                await s.emit("", 1)
                (event,) = await client.events(1)
                found = other.execute("SELECT count(*) FROM events WHERE offset = ?", (event["offset"],)).fetchone()
                assert found == (1,)
        other.close()


async def test_without_subscribers_an_event_is_just_an_event(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        async with connected(s.path) as client:
            await client.call("events.subscribe", all=True)
        await wait_until(lambda: len(s.rooms.hub) == 0)
        await s.emit("", 3)
        assert s.store.offset == 3 and s.store.counters.get("listener_failures", 0) == 0


async def test_what_is_committed_together_comes_together(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        await client.call("events.subscribe", all=True)
        async with s.busy_writer(), trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(s.emit, "", 2)
            await wait_until(lambda: s.store.counters["waiting"] == 100)
            nursery.cancel_scope.cancel()
        assert seqs(await client.events(200)) == list(range(1, 201))


async def test_each_of_many_gets_every_event_and_one_that_leaves_takes_nothing_along(tmp_path: Path) -> None:
    async with served(tmp_path) as s, AsyncExitStack() as stack:
        session = await s.create("a")
        clients = [await stack.enter_async_context(connected(s.path)) for _ in range(20)]
        for client in clients:
            await client.call("events.subscribe", session=session, after=0)
        for n in range(20):
            await s.emit(session, 5)
            await clients[n].stream.aclose() if n % 4 == 0 else None
        for n, client in enumerate(clients):
            if n % 4:
                assert seqs(await client.events(101)) == list(range(1, 102))


async def test_a_bug_in_one_feed_ends_that_one_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(tmp_path) as s, connected(s.path) as broken, connected(s.path) as client:
        await broken.call("events.subscribe", all=True)
        (connection,) = (each for each in s.server.clients if each.client.subscriptions)
        (subscription,) = connection.client.subscriptions.values()
        await wait_until(lambda: "live" in repr(subscription))
        monkeypatch.setattr(subscription, "_send", mistaken)
        await client.call("events.subscribe", all=True)
        await s.emit("", 1)
        assert seqs(await client.events(1)) == [1]
        end = await ended(broken)
        assert end["reason"] == "failed" and "log" in end["message"]
        await broken.call("daemon.status")
    assert "division by zero" in caplog.text


async def test_one_that_cannot_read_the_store_ends_with_the_reason(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        await s.emit("", 1)
        await client.call("events.subscribe", all=True, after=0)
        await client.events(1)
        (connection,) = s.server.clients
        (subscription,) = connection.client.subscriptions.values()
        assert isinstance(subscription, Subscription)
        s.store._readers.close()  # pyright: ignore[reportPrivateUsage]
        subscription._aside = None  # pyright: ignore[reportPrivateUsage]
        subscription._news.tell()  # pyright: ignore[reportPrivateUsage]
        end = await ended(client)
        assert end["reason"] == "failed" and "closed" in end["message"]
