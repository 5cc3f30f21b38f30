"""kill -9 of the daemon: what anybody saw is there again, in the same order with the same numbers."""

import random
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.daemon import Daemon, pids_with, wait_until
from helpers.engines import engines
from roost.protocol import rpc
from roost.protocol.errors import RoostError

MOMENTS = 30


@pytest.fixture(scope="module")
def settings() -> str:
    return engines()


class Watcher(threading.Thread):
    """A second client: keeps the bytes of every event that it saw."""

    def __init__(self, daemon: Daemon, after: int) -> None:
        super().__init__(daemon=True)
        self.connection = daemon.connect()
        self.connection.call("events.subscribe", {"all": True, "after": after})
        self.seen: list[dict[str, Any]] = []

    def run(self) -> None:
        try:
            while self.connection.receive(60):
                while (told := self.connection.take()) is not None:
                    if told.method == "event":
                        self.seen.append(told.params)
        except RoostError:
            self.connection.close()


class Load(threading.Thread):
    """A client that sends prompts to all sessions until the daemon dies, and keeps what it was answered."""

    def __init__(self, daemon: Daemon, sessions: list[str], seed: int) -> None:
        super().__init__(daemon=True)
        self.daemon_ = daemon
        self.sessions = sessions
        self.random = random.Random(seed)
        self.answered: dict[str, str] = {}

    def run(self) -> None:
        try:
            with self.daemon_.connect() as connection:
                while True:
                    session = self.random.choice(self.sessions)
                    prompt = self.random.choice(["count 5", "say hello", "save me", "wait", "count 50"])
                    turn = connection.call("turn.send", {"session": session, "input": prompt})["turn"]
                    self.answered[turn["id"]] = turn["input"]
                    if prompt == "wait" and self.random.random() < 0.8:
                        connection.call("turn.cancel", {"turn": turn["id"]})
                    if session_hold(connection, session):
                        connection.call("session.release", {"session": session})
        except (RoostError, OSError):
            return


def session_hold(connection: Any, session: str) -> bool:
    return connection.call("session.get", {"session": session})["session"]["hold"] is not None


def check_numbers(events: list[dict[str, Any]]) -> None:
    """Offsets ascend; the seqs of each session run from 1 without gap."""
    offsets = [event["offset"] for event in events]
    assert offsets == sorted(set(offsets))
    last: dict[str | None, int] = {}
    for event in events:
        assert event["seq"] == last.get(event["session"], 0) + 1, event
        last[event["session"]] = event["seq"]


def check_turns(daemon: Daemon, sessions: list[str], answered: dict[str, str]) -> None:
    """Every prompt that was answered is there once; nothing runs that a dead daemon started."""
    found: dict[str, dict[str, Any]] = {}
    with daemon.connect() as connection:
        for session in sessions:
            cursor: int | None = 0
            while cursor is not None:
                page = connection.call("turn.list", {"session": session, "cursor": cursor, "limit": 1000})
                found |= {turn["id"]: turn for turn in page["turns"]}
                cursor = page["next"]
    for turn, prompt in answered.items():
        assert found[turn]["input"] == prompt


def test_30_random_moments_under_load(tmp_path: Path) -> None:
    """Again and again on the same state directory."""
    daemon = Daemon(tmp_path / "s", engines("[sessions]\ncancel_grace = '500ms'\n"))
    chance = random.Random(20260)
    try:
        daemon.start()
        sessions = [daemon.create("odd") for _ in range(6)]
        answered: dict[str, str] = {}
        known: list[bytes] = []
        offset = 0
        for moment in range(MOMENTS):
            watcher = Watcher(daemon, after=offset)
            loads = [Load(daemon, sessions, seed=moment * 10 + n) for n in range(3)]
            for thread in (watcher, *loads):
                thread.start()
            moment_after = chance.randrange(300)
            wait_until(lambda: len(watcher.seen) >= moment_after, "the moment has come")  # noqa: B023
            daemon.kill()
            for thread in (watcher, *loads):
                thread.join(30)
                assert not thread.is_alive()
            for load in loads:
                answered |= load.answered
            daemon.start()
            events = daemon.events()
            packed = [rpc.pack(event) for event in events]
            seen = known + [rpc.pack(event) for event in watcher.seen]
            assert packed[: len(seen)] == seen
            check_numbers(events)
            check_interrupted(daemon, events)
            check_turns(daemon, sessions, answered)
            known, offset = packed, events[-1]["offset"]
        finish_all(daemon, sessions, answered)
    finally:
        daemon.close()


def check_interrupted(daemon: Daemon, events: list[dict[str, Any]]) -> None:
    """What ran at the kill is interrupted, its items too, with events."""
    state: dict[str, str] = {}
    items: dict[str, str] = {}
    ready = max(n for n, e in enumerate(events) if e["kind"] == "daemon.started")
    for event in events[: ready + 1]:
        noun, _, verb = event["kind"].partition(".")
        if noun == "turn" and verb in ("queued", "started", "completed", "failed", "cancelled", "interrupted"):
            state[event["turn"]] = verb
        if noun == "item" and verb != "delta":
            items[event["data"].get("item") if verb == "started" else event["data"]["item"]["id"]] = verb
    assert "started" not in state.values(), "a turn of the dead daemon is settled before the first request"
    assert "started" not in items.values()


def finish_all(daemon: Daemon, sessions: list[str], answered: dict[str, str]) -> None:
    """Whatever still waits runs, once."""
    with daemon.connect() as connection:

        def finished(session: str) -> bool:
            record = connection.call("session.get", {"session": session})["session"]
            if record["turn"] and connection.call("turn.get", {"turn": record["turn"]})["turn"]["input"] == "wait":
                connection.call("turn.cancel", {"turn": record["turn"]})
            if record["hold"]:
                connection.call("session.release", {"session": session})
            return not record["queued"] and not record["turn"]

        wait_until(lambda: all([finished(session) for session in sessions]), "all turns have run", 60)
    events = daemon.events()
    cancelled = {event["turn"] for event in events if event["kind"] == "turn.cancelled"}
    starts: dict[str, int] = {}
    for event in events:
        if event["kind"] == "turn.started":
            starts[event["turn"]] = starts.get(event["turn"], 0) + 1
    assert set(answered) <= set(starts) | cancelled
    assert set(starts.values()) <= {1}, "no turn ran twice"


def test_the_state_of_a_turn_that_ended_is_there(shared: Daemon) -> None:
    """Kill -9 right after turn.completed loses nothing of that turn."""
    session = shared.create("shell")
    (shared.workspace / "deep").mkdir()
    for n in range(5):
        turn = shared.run(session, f"cd {shared.workspace}/deep && export N={n} && echo $N")
        shared.kill()
        shared.start()
        assert shared.call("turn.get", turn=turn["id"])["turn"]["state"] == "completed"
        again = shared.run(session, "echo $N; pwd")
        assert shared.output(again["id"]).split() == [str(n), str(shared.workspace / "deep")]


def test_turns_that_waited_still_wait_and_then_run_once(shared: Daemon) -> None:
    """What was in flight is on disk, so that nothing is submitted twice."""
    session = shared.create("odd", after={"interrupted": "continue"})
    first = shared.send(session, "wait")
    rest = [shared.send(session, f"say {n}") for n in range(5)]
    wait_until(lambda: shared.session(session)["turn"] == first, "the first runs")
    shared.kill()
    shared.start()
    cut_off = shared.call("turn.get", turn=first)["turn"]
    assert (cut_off["state"], cut_off["reason"]) == ("interrupted", "daemon_restart")
    assert cut_off["duration"] >= 0 and cut_off["ended_at"] >= cut_off["started_at"]
    for turn in rest:
        assert shared.wait(turn)["state"] == "completed"
    ran = [e["turn"] for e in shared.events(session) if e["kind"] == "turn.started"]
    assert ran == [first, *rest]


def test_a_dead_daemons_children_are_ended_before_anything_starts(shared: Daemon) -> None:
    shell = shared.create("shell")
    shared.send(shell, "trap '' TERM HUP; sleep 1000 & wait")
    frozen = shared.create("odd")
    shared.run(frozen, "stop")
    stopped = shared.session(frozen)["pid"]
    wait_until(lambda: len(pids_with(f"ROOST_DAEMON={shared.socket}")) >= 4, "two workers, bash and sleep run")
    before = pids_with(f"ROOST_DAEMON={shared.socket}")
    shared.kill()
    shared.start()
    assert pids_with(f"ROOST_DAEMON={shared.socket}") & before == set()
    started = [e for e in shared.events() if e["kind"] == "daemon.started"][-1]
    assert {stopped} <= set(started["data"]["ended"]) <= before, "those that did not go by themselves"


def syncs(lines: list[str]) -> Iterator[tuple[int, int]]:
    """Of each sync of the database's log that strace saw succeed: the lines at which it began and at which it ended."""
    begun: dict[str, int] = {}
    for n, line in enumerate(lines):
        thread, call = line.split(maxsplit=1)
        if re.match(r"f(data)?sync\(\d+<.*roost\.db-wal>", call):
            begun[thread] = n
        if thread in begun and re.match(r"(<\.\.\. )?f(data)?sync\b.*\) += ", call):
            began = begun.pop(thread)
            if call.endswith(" = 0"):
                yield began, n


def test_fdatasync_lies_between_request_and_reply(tmp_path: Path) -> None:
    """Durable, then visible."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed: apt-get install strace")
    daemon = Daemon(tmp_path / "s")
    trace = tmp_path / "trace"
    try:
        daemon.start(
            strace, "-f", "-qq", "-y", "-s", "300", "-e", "trace=recvfrom,sendto,fdatasync,fsync", "-o", str(trace)
        )
        session = daemon.create("shell", name="traced")
        before = trace.read_text().count("\n")
        daemon.call("turn.send", session=session, input="exit 0 # look-for-me")
        wait_until(lambda: re.search("sendto.*look-for-me", trace.read_text()), "strace wrote")
        lines = trace.read_text().splitlines()[before:]
    finally:
        daemon.close()
    asked = next(n for n, line in enumerate(lines) if "recvfrom" in line and "look-for-me" in line)
    told = next(n for n, line in enumerate(lines) if "sendto" in line and "look-for-me" in line)
    assert any(asked < began and ended < told for began, ended in syncs(lines)), "\n".join(lines[: told + 1])
