"""Who reads slowly, or not at all for a while, loses nothing, costs little, and holds up nobody."""

import random
from pathlib import Path
from typing import Any, NamedTuple

import trio
import trio.testing

from helpers.raw import as_notifications, frames, raw_events
from helpers.served import Client, Served, connected, served
from helpers.waiting import wait_until
from roost.daemon.server.connection import Connection
from roost.daemon.server.hub import BURST_BYTES, Follower
from roost.daemon.server.subscription import ASIDE_BYTES, Subscription
from roost.protocol import rpc
from roost.protocol.events import TURN_MOVED

KEPT = BURST_BYTES + 2 * ASIDE_BYTES
"""Bytes that may wait for one client: what was set aside and is being sent, and what is set aside meanwhile."""


def only(s: Served) -> tuple[Connection, Follower]:
    """The one subscription there is."""
    (connection,) = (client for client in s.server.clients if client.client.subscriptions)
    (subscription,) = connection.client.subscriptions.values()
    return connection, subscription


def kept(connection: Connection) -> int:
    """Bytes that wait for the client now."""
    waiting = [event for subscription in connection.client.subscriptions.values() for event in set_aside(subscription)]
    return connection.out.size + sum(len(event.packed) for event in waiting)


def set_aside(subscription: Follower) -> list[Any]:
    assert isinstance(subscription, Subscription)
    return subscription._aside or []  # pyright: ignore[reportPrivateUsage]


async def read_all(path: Path, **feed: Any) -> list[bytes]:
    """Every event by events.read, as bytes."""
    found: list[bytes] = []
    async with connected(path) as client:
        after, more = 0, True
        while more:
            request = rpc.request(1, "events.read", {**feed, "after": after, "limit": 1000})
            await client.send(request)
            response = await whole_frame(client)
            page = rpc.unpack(response)[3]
            found += raw_events(response)
            after, more = page["next"], page["more"]
    return found


async def whole_frame(client: Client) -> bytes:
    """The next message, as bytes."""
    data = bytearray()
    while True:
        data += await client.stream.receive_some(1 << 20)
        try:
            (frame,) = frames(bytes(data))
        except Exception:  # it is not whole yet
            continue
        return frame


class Sleeper(NamedTuple):
    """A client that subscribes and then does not read."""

    feed: dict[str, Any]
    most_aside: int
    client: Client
    connection: Connection
    subscription: Follower


async def asleep(s: Served, client: Client, most_aside: int, **feed: Any) -> Sleeper:
    known = {one for one in s.server.clients if one.client.subscriptions}
    await client.call("events.subscribe", after=0, **feed)
    (connection,) = (one for one in s.server.clients if one.client.subscriptions and one not in known)
    (subscription,) = connection.client.subscriptions.values()
    return Sleeper(feed, most_aside, client, connection, subscription)


async def test_one_that_sleeps_for_50_000_events_then_gets_each_once_byte_for_byte(tmp_path: Path) -> None:
    """Nobody is told that it lags, because nothing is lost; neither of a session nor of all."""
    async with (
        served(tmp_path, deadline=150) as s,
        connected(s.path) as one,
        connected(s.path) as two,
        connected(s.path) as client,
    ):
        session = await s.create("a")
        sleepers = [await asleep(s, one, 256, session=session), await asleep(s, two, 4096, all=True)]
        for _ in range(200):
            await s.emit(session, 250, size=random.randrange(40))
            for sleeper in sleepers:
                assert kept(sleeper.connection) < KEPT
                assert len(set_aside(sleeper.subscription)) <= sleeper.most_aside
        await client.call("daemon.status")
        for sleeper in sleepers:
            assert sleeper.connection.out.blocked
            stream = bytearray(await sleeper.client.stream.receive_some(1 << 20))
            # It sleeps again, in the middle of what it missed.
            wanted = as_notifications(await read_all(s.path, **sleeper.feed))
            assert len(wanted) == 50_001
            size = sum(map(len, wanted))
            while len(stream) < size:
                assert kept(sleeper.connection) < KEPT
                stream += await sleeper.client.stream.receive_some(1 << 20)
            same = bytes(stream) == b"".join(wanted)
            assert same, "other bytes"  # to print how would take minutes
        # They are live again.
        await s.emit(session, 1)
        for sleeper in sleepers:
            assert [event["seq"] for event in await sleeper.client.events(1)] == [50_002]
            assert set_aside(sleeper.subscription) == []


async def test_what_is_set_aside_is_bounded_in_bytes_too(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        await client.call("events.subscribe", all=True)
        connection, _ = only(s)
        for _ in range(40):
            await s.emit("", 1, size=100_000)
            await trio.testing.wait_all_tasks_blocked()
            assert kept(connection) < KEPT
        assert [event["seq"] for event in await client.events(40)] == list(range(1, 41))


async def test_many_subscriptions_of_one_client_are_kept_no_more_for_than_one(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        sessions = [await s.create(f"s{n}") for n in range(12)]
        for session in sessions:
            await client.call("events.subscribe", session=session)
        (connection,) = (found for found in s.server.clients if found.client.subscriptions)
        for session in sessions * 2:
            await s.emit(session, 4, size=100_000)
            await trio.testing.wait_all_tasks_blocked()
            assert kept(connection) < KEPT
        seqs: dict[str, list[int]] = {session: [] for session in sessions}
        for event in await client.events(12 * 8):
            seqs[event["session"]].append(event["seq"])
        assert seqs == {session: list(range(2, 10)) for session in sessions}


async def test_one_commit_however_large_is_sent_in_bursts(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        await client.call("events.subscribe", all=True)
        connection, _ = only(s)
        await s.emit("", 4000, size=1000)
        await trio.testing.wait_all_tasks_blocked()
        assert kept(connection) < KEPT
        assert [event["seq"] for event in await client.events(4000)] == list(range(1, 4001))


async def test_a_slow_one_on_a_filter_misses_nothing_of_its_kind(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("a")
        await client.call("events.subscribe", session=session, kinds=["turn.moved"])
        for _ in range(100):
            await s.emit(session, 100, size=50)
            await s.emit(session, 2, TURN_MOVED, size=5000)
        events = await client.events(200)
        assert {event["kind"] for event in events} == {"turn.moved"}
        assert [event["seq"] for event in events] == [n for k in range(100) for n in (k * 102 + 102, k * 102 + 103)]


async def test_a_slow_one_whose_session_is_deleted_is_told_what_went(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("a")
        await client.call("events.subscribe", session=session, after=0)
        for _ in range(40):
            await s.emit(session, 100, size=1000)
        await s.supervisor.delete(session, False)
        seen: list[dict[str, Any]] = []
        while (note := await client.note()).method == "event":
            seen.append(note.params)
        assert seen[-1]["kind"] == "session.deleted" and seen[-1]["seq"] == 4002
        assert seen[-2]["kind"] == "events.pruned"
        assert [event["seq"] for event in seen[:-2]] == list(range(1, len(seen) - 1))
        assert (note.params["reason"], note.params["after"]) == ("session_deleted", 4002)


async def test_a_slow_one_whose_session_is_long_gone_is_told_that(tmp_path: Path) -> None:
    async with served(tmp_path) as s, connected(s.path) as client:
        session = await s.create("a")
        await client.call("events.subscribe", session=session, after=0)
        for _ in range(40):
            await s.emit(session, 100, size=1000)
        await s.supervisor.delete(session, False)
        # The last trace of it goes when many others have been deleted.
        await s.store.write(lambda tx: tx.conn.execute("DELETE FROM events"))
        while (note := await client.note()).method == "event":
            pass
        assert note.params["reason"] == "session_deleted" and 0 < note.params["after"] < 4002


class Writer:
    """Emits without a pause, to two sessions and the daemon, until it is told to stop."""

    def __init__(self, s: Served, sessions: list[str]) -> None:
        self.s = s
        self.feeds = [*sessions, ""]
        self.stopped = False
        self.done = trio.Event()

    async def run(self) -> None:
        chance = random.Random(7)
        while not self.stopped:
            await self.s.emit(chance.choice(self.feeds), chance.choice([1, 1, 1, 2, 5, 40]), size=chance.randrange(300))
        self.done.set()


async def follow(s: Served, feed: dict[str, Any], writer: Writer, chance: random.Random) -> None:
    """Subscribe at some moment from some number, read at some pace, and compare with what the store holds."""
    number = "offset" if "all" in feed else "seq"
    async with connected(s.path) as client:
        last = (await client.call("events.subscribe", **feed))["after"]
    for _ in range(4):
        after = chance.choice([None, 0, last, chance.randrange(last + 1)])
        async with connected(s.path) as client:
            begun = (await client.call("events.subscribe", after=after, **feed))["after"]
            count = chance.randrange(1, 600)
            for at in range(begun + 1, begun + 1 + count):
                event = (await client.note()).params
                assert event[number] == at, f"{feed} after {begun}"
                if chance.random() < 0.02:
                    await trio.lowlevel.checkpoint()
            last = max(last, begun + count)


async def test_history_and_live_join_without_gap_or_double_while_events_never_stop(tmp_path: Path) -> None:
    async with served(tmp_path) as s:
        sessions = [await s.create("a"), await s.create("b")]
        writer = Writer(s, sessions)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            await wait_until(lambda: s.store.offset > 300)
            async with trio.open_nursery() as followers:
                for n in range(24):
                    feed: dict[str, Any] = {"all": True} if n % 3 == 2 else {"session": sessions[n % 3]}
                    followers.start_soon(follow, s, feed, writer, random.Random(n))
            writer.stopped = True
        await wait_until(lambda: len(s.rooms.hub) == 0)
