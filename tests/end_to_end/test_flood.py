"""A child that writes more than anybody can keep: it waits for its own pipe, and nobody else waits for it."""

import json
import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from helpers.daemon import Daemon, running, wait_until
from helpers.engines import engines

FLOODING = Path(__file__).parents[1] / "helpers" / "workers" / "flooding.py"
CONFIG = f"""
[limits]
max_output = 120000000
[engines.flooding]
command = {json.dumps([sys.executable, str(FLOODING)])}
env = {{ PYTHONPATH = {json.dumps(os.pathsep.join(path for path in sys.path if path))} }}
"""
FLOOD = 150_000_000
ROOM = 40_000_000
"""Bytes by which the daemon may grow, however long the flood: caches of the database, buffers, what Python keeps."""


@pytest.fixture
def daemon() -> Generator[Daemon]:
    with running(config=engines(CONFIG)) as started:
        yield started


def rss(daemon: Daemon) -> int:
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def most_memory(daemon: Daemon, turn: str) -> int:
    """The most that the daemon had until that turn ended."""
    most = 0

    def ended() -> bool:
        nonlocal most
        most = max(most, rss(daemon))
        return daemon.call("turn.get", turn=turn)["turn"]["state"] not in ("running", "queued")

    wait_until(ended, "the flood ends", 120)
    return most


@pytest.mark.parametrize(
    ("engine", "prompt"),
    [
        ("flooding", f"items {FLOOD}"),
        ("flooding", f"noise {FLOOD}"),
        ("sh", f"head -c {FLOOD} /dev/zero | tr '\\0' x"),
        ("sh", f"head -c {FLOOD} /dev/zero | tr '\\0' x >&2"),
    ],
)
def test_the_daemon_does_not_grow_under_a_flood(daemon: Daemon, engine: str, prompt: str) -> None:
    session = daemon.create(engine)
    daemon.run(session, "true")
    before = rss(daemon)
    turn = daemon.send(session, prompt)
    neighbour = daemon.create("odd")
    assert daemon.run(neighbour, "say hello")["state"] == "completed"
    assert most_memory(daemon, turn) - before < ROOM
    assert daemon.call("turn.get", turn=turn)["turn"]["state"] == "completed"
    for file in (daemon.state / "stderr").rglob("*.log"):
        assert file.stat().st_size <= 1024 * 1024 + 65_536


def test_a_message_that_never_ends_is_that_childs_own_error(daemon: Daemon) -> None:
    session, neighbour = daemon.create("flooding"), daemon.create("odd")
    for one in (session, neighbour):
        daemon.run(one, "true")
    before, pid = rss(daemon), daemon.session(neighbour)["pid"]
    turn = daemon.send(session, "endless")
    for _ in range(5):
        assert daemon.run(neighbour, "say hello")["state"] == "completed"
    assert most_memory(daemon, turn) - before < 3 * 16 * 1024 * 1024
    ended = daemon.call("turn.get", turn=turn)["turn"]
    assert ended["state"] == "failed" and ended["problem"]["name"] == "worker_violation"
    assert "16777216" in ended["problem"]["message"]
    assert daemon.session(neighbour)["pid"] == pid
    daemon.call("session.release", session=session)
    assert daemon.run(session, "true")["state"] == "completed", "another child"


def test_a_grandchild_that_holds_the_pipes_does_not_delay_the_end(daemon: Daemon) -> None:
    """It has left the session of its parent, and holds stdout and stderr for 600 s."""
    session = daemon.create("sh")
    assert daemon.run(session, "setsid sleep 600 & echo told; echo noted >&2")["state"] == "completed"
    assert daemon.call("session.stderr", session=session)["content"] == "noted\n"
    worker = daemon.create("flooding")
    died = daemon.run(worker, "leave 7")
    assert (died["state"], died["problem"]["data"]["exit_code"]) == ("failed", 7)
