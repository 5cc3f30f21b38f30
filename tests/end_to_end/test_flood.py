"""A child that writes more than anybody can keep: it waits for its own pipe, and nobody else waits for it."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers.daemon import Daemon
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


@pytest.fixture(scope="module")
def settings() -> str:
    return engines(CONFIG)


@pytest.fixture(scope="module")
def before(one_daemon: Daemon) -> int:
    """What the daemon needs before the first flood: what any of them leaves behind counts."""
    for engine in ("flooding", "sh"):
        session = one_daemon.create(engine)
        one_daemon.run(session, "true")
        one_daemon.call("session.delete", session=session)
    return memory(one_daemon, "VmRSS")


def memory(daemon: Daemon, which: str) -> int:
    """Bytes that it holds (VmRSS), or the most that it held since :func:`forget_the_most` (VmHWM)."""
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    return int(status.partition(f"{which}:")[2].split()[0]) * 1024


def forget_the_most(daemon: Daemon) -> None:
    Path(f"/proc/{daemon.pid}/clear_refs").write_text("5")


def ended(daemon: Daemon, turn: str) -> dict[str, Any]:
    """The turn once its flood has ended."""
    with daemon.connect() as connection:
        return dict(connection.call("turn.wait", {"turn": turn}, 120)["turn"])


@pytest.mark.parametrize(
    ("engine", "prompt"),
    [
        ("flooding", f"items {FLOOD}"),
        ("flooding", f"noise {FLOOD}"),
        ("sh", f"head -c {FLOOD} /dev/zero | tr '\\0' x"),
        ("sh", f"head -c {FLOOD} /dev/zero | tr '\\0' x >&2"),
    ],
)
def test_the_daemon_does_not_grow_under_a_flood(shared: Daemon, before: int, engine: str, prompt: str) -> None:
    forget_the_most(shared)
    turn = shared.send(shared.create(engine), prompt)
    neighbour = shared.create("odd")
    assert shared.run(neighbour, "say hello")["state"] == "completed"
    assert ended(shared, turn)["state"] == "completed"
    assert memory(shared, "VmHWM") - before < ROOM
    for file in (shared.state / "stderr").rglob("*.log"):
        assert file.stat().st_size <= 1024 * 1024 + 65_536


def test_a_message_that_never_ends_is_that_childs_own_error(shared: Daemon) -> None:
    session, neighbour = shared.create("flooding"), shared.create("odd")
    for one in (session, neighbour):
        shared.run(one, "true")
    pid = shared.session(neighbour)["pid"]
    before = memory(shared, "VmRSS")
    forget_the_most(shared)
    turn = shared.send(session, "endless")
    for _ in range(5):
        assert shared.run(neighbour, "say hello")["state"] == "completed"
    failed = ended(shared, turn)
    assert memory(shared, "VmHWM") - before < 3 * 16 * 1024 * 1024
    assert failed["state"] == "failed" and failed["problem"]["name"] == "worker_violation"
    assert "16777216" in failed["problem"]["message"]
    assert shared.session(neighbour)["pid"] == pid
    shared.call("session.release", session=session)
    assert shared.run(session, "true")["state"] == "completed", "another child"


def test_a_grandchild_that_holds_the_pipes_does_not_delay_the_end(shared: Daemon) -> None:
    """It has left the session of its parent, and holds stdout and stderr for 600 s."""
    session = shared.create("sh")
    assert shared.run(session, "setsid sleep 600 & echo told; echo noted >&2")["state"] == "completed"
    assert shared.call("session.stderr", session=session)["data"] == b"noted\n"
    worker = shared.create("flooding")
    died = shared.run(worker, "leave 7")
    assert (died["state"], died["problem"]["data"]["exit_code"]) == ("failed", 7)
