"""Feeds of a real daemon: lossless for who sleeps, harmless for all others, the same bytes for everybody."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from helpers.daemon import Daemon, wait_until
from helpers.engines import engines
from helpers.raw import as_notifications, frames, raw_events
from roost.client.connection import Connection
from roost.protocol import rpc

SLEPT = 50_000


@pytest.fixture
def odd(tmp_path: Path) -> Generator[Daemon]:
    daemon = Daemon(tmp_path / "s", engines())
    yield daemon.start()
    daemon.close()


def rss(daemon: Daemon) -> int:
    """KiB of memory that the daemon holds."""
    for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def count(daemon: Daemon, session: str, items: int) -> None:
    """Make ``items`` items, which is three events each."""
    for _ in range(items // 1000):
        assert daemon.run(session, "count 1000")["state"] == "completed"


def progress(daemon: Daemon, session: str, events: int) -> None:
    """Make at least so many events that cost no more than themselves."""
    for _ in range(events // 1000):
        assert daemon.run(session, "progress 1000")["state"] == "completed"


def follow(connection: Connection, until: int) -> list[dict[str, Any]]:
    """What comes on a feed, up to the event with that offset."""
    seen: list[dict[str, Any]] = []
    while not seen or seen[-1]["offset"] < until:
        while (told := connection.take()) is not None:
            assert told.method == "event", told
            seen.append(told.params)
        if not seen or seen[-1]["offset"] < until:
            assert connection.receive(60)
    return seen


def raw(daemon: Daemon) -> socket.socket:
    """A connection that speaks for itself."""
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(60)
    made.connect(str(daemon.socket))
    return made


def received(sock: socket.socket, size: int, daemon: Daemon) -> tuple[bytes, int]:
    """So many bytes, and the most memory (KiB) that the daemon held while they were read."""
    data, most = bytearray(), 0
    while len(data) < size:
        piece = sock.recv(min(1024 * 1024, size - len(data)))
        assert piece, f"the connection ended after {len(data)} of {size} bytes"
        data += piece
        most = max(most, rss(daemon))
    return bytes(data), most


def packed(daemon: Daemon, after: int) -> list[bytes]:
    """All events after that offset, as events.read sends them."""
    found: list[bytes] = []
    with raw(daemon) as reader:
        more = True
        while more:
            reader.sendall(rpc.request(1, "events.read", {"all": True, "after": after, "limit": 1000}))
            answer = whole(reader)
            found += raw_events(answer)
            result = rpc.unpack(answer)[3]
            after, more = result["next"], result["more"]
    return found


def whole(sock: socket.socket) -> bytes:
    """One whole answer."""
    data = b""
    unpacker = msgpack.Unpacker(max_buffer_size=0)
    while True:
        piece = sock.recv(1024 * 1024)
        assert piece, "the connection ended"
        data += piece
        unpacker.feed(piece)
        try:
            unpacker.skip()
        except msgpack.OutOfData:
            continue
        return data


def test_a_subscriber_that_sleeps_for_50_000_events_misses_none(odd: Daemon) -> None:
    """It is not told that it lagged; it gets every event, in order, once."""
    session = odd.create("odd")
    progress(odd, session, 18_000)  # caches are as full as they get
    packed(odd, 0)
    with raw(odd) as sleeper:
        after = odd.events(session)[-1]["offset"]
        sleeper.sendall(rpc.request(1, "events.subscribe", {"all": True, "after": after}))
        answered = sleeper.recv(65536)
        before = rss(odd)
        progress(odd, session, SLEPT)
        count(odd, session, 1000)
        asleep = rss(odd) - before
        seen, _ = received(sleeper, 1024 * 1024, odd)
        # It sleeps again, in the middle of what it missed.
        expected = b"".join(as_notifications(packed(odd, after)))
        assert rpc.unpack(answered)[2] is None and len(frames(expected)) >= SLEPT
        rest, most = received(sleeper, len(expected) - len(seen), odd)
    assert seen + rest == expected, "the same bytes, in order, once"
    grown = asleep, most - before
    assert max(grown) <= 5 * 1024, f"{grown} KiB for somebody who does not read, and when they then do"


def test_a_stopped_client_delays_nobody(odd: Daemon) -> None:
    """A real process that subscribes to everything and is then SIGSTOPped."""
    script = (
        "import sys; from roost.client.connection import Connection; c = Connection(sys.argv[1]);"
        "c.call('events.subscribe', {'all': True, 'after': 0}); print('on', flush=True);"
        "[c.receive(60) for _ in iter(int, 1)]"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(odd.socket)], stdout=subprocess.PIPE) as stopped:
        assert stopped.stdout is not None and stopped.stdout.readline() == b"on\n"
        os.kill(stopped.pid, signal.SIGSTOP)
        try:
            session = odd.create("odd")
            with odd.connect() as other:
                other.call("events.subscribe", {"session": session, "after": 0})
                progress(odd, session, 9000)
                last = odd.events(session)[-1]
                assert follow(other, last["offset"])[-1] == last
            assert odd.stop() == 0, "nor does it hold the stop"
        finally:
            os.kill(stopped.pid, signal.SIGKILL)


def test_no_gap_and_no_double_between_history_and_live(odd: Daemon) -> None:
    """Whoever joins, whenever, from wherever, sees the same as everybody."""
    chance = random.Random(7)
    sessions = [odd.create("odd") for _ in range(4)]
    stop = threading.Event()

    def write(session: str) -> None:
        while not stop.is_set():
            odd.run(session, "count 30")

    writers = [threading.Thread(target=write, args=(session,)) for session in sessions]
    feeds: list[tuple[Connection, str | None, int]] = []
    for writer in writers:
        writer.start()
    try:
        for n in range(40):
            connection = odd.connect()
            session = sessions[n % 4] if n % 3 else None
            now = odd.session(session)["seq"] if session else odd.events(after=0)[-1]["offset"] if n < 4 else 1
            after = chance.randrange(now + 1)
            feed: dict[str, Any] = {"session": session} if session else {"all": True}
            connection.call("events.subscribe", {**feed, "after": after})
            feeds.append((connection, session, after))
    finally:
        stop.set()
        for writer in writers:
            writer.join(60)
    written = odd.events()
    for connection, session, after in feeds:
        if session:
            expected = [event for event in written if event["session"] == session and event["seq"] > after]
        else:
            expected = [event for event in written if event["offset"] > after]
        with connection:
            assert follow(connection, expected[-1]["offset"]) == expected


def test_what_retention_removed_is_read_as_one_event(tmp_path: Path) -> None:
    """Numbers are never used again, and a gap is told in its place."""
    config = engines("[retention]\nevents_per_session = 50\nsweep = '200ms'\n")
    daemon = Daemon(tmp_path / "s", config)
    try:
        daemon.start()
        session = daemon.create("odd")
        count(daemon, session, 1000)
        wait_until(lambda: len(daemon.events(session)) <= 51, "the sweep")
        events = daemon.events(session)
        pruned = events[0]
        assert pruned["kind"] == "events.pruned"
        assert pruned["data"] == {"from_seq": 1, "to_seq": pruned["seq"]}
        assert [event["seq"] for event in events] == list(range(pruned["seq"], daemon.session(session)["seq"] + 1))
        with daemon.connect() as connection:
            connection.call("events.subscribe", {"session": session, "after": 0})
            assert follow(connection, events[-1]["offset"])[0]["kind"] == "events.pruned"
    finally:
        daemon.close()


def test_the_end_of_a_feed_is_said(odd: Daemon) -> None:
    """Never silence."""
    session = odd.create("odd")
    with odd.connect() as connection:
        connection.call("events.subscribe", {"session": session, "after": 0, "follow": False})
        told = [connection.take() or (connection.receive(30), connection.take())[1] for _ in range(2)]
        assert told[-1] is not None and told[-1].params["reason"] == "complete"
        connection.call("events.subscribe", {"session": session})
        odd.call("session.delete", session=session)
        ends = wait_end(connection)
        assert ends["reason"] == "session_deleted"
        connection.call("events.subscribe", {"all": True})
        odd.stop()
        assert wait_end(connection)["reason"] == "shutting_down"


def wait_end(connection: Connection) -> dict[str, Any]:
    while True:
        while (told := connection.take()) is not None:
            if told.method == "events.end":
                params: dict[str, Any] = told.params
                return params
        assert connection.receive(30)
