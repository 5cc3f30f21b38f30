"""A bug in one session, one connection, one sweeper or the runner, or a full disk for one: all others go on working."""

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers.daemon import Daemon, wait_until
from helpers.engines import engines
from helpers.sabotaged import command
from roost.protocol.errors import ConnectionLost, RoostError, StorageFailed

Sabotaged = Callable[[str], tuple[Daemon, Path]]


@pytest.fixture
def sabotaged(tmp_path: Path) -> Generator[Sabotaged]:
    """Starts a daemon with a fault, and gives the file whose existence turns the fault on."""
    daemon = Daemon(tmp_path / "s", engines("[sessions]\nidle_sweep = '50ms'\n"))

    def start(fault: str) -> tuple[Daemon, Path]:
        return daemon.start(*command(fault, tmp_path / "switch")), tmp_path / "switch"

    yield start
    daemon.close()


def test_a_bug_in_one_session_is_internal_error_there_and_nothing_elsewhere(sabotaged: Sabotaged) -> None:
    daemon, switch = sabotaged("session")
    broken, sound = daemon.create("odd", name="broken"), daemon.create("odd")
    daemon.run(sound, "say hello")
    pid = daemon.session(sound)["pid"]
    switch.touch()
    turn = daemon.run(broken, "say hello")
    assert (turn["state"], turn["problem"]["name"]) == ("failed", "internal_error")
    assert "ZeroDivisionError" in daemon.log.read_text()
    assert daemon.run(sound, "say more")["state"] == "completed" and daemon.session(sound)["pid"] == pid
    assert daemon.call("session.wait", session=broken)["session"]["state"] == "idle"
    switch.unlink()
    assert daemon.run(broken, "say well again")["state"] == "completed"
    assert daemon.stop() == 0


def test_a_bug_in_one_connection_ends_that_one(sabotaged: Sabotaged) -> None:
    daemon, switch = sabotaged("connection")
    with daemon.connect() as other, daemon.connect() as broken:
        other.call("events.subscribe", {"all": True, "after": 0})
        switch.touch()
        with pytest.raises(ConnectionLost):
            broken.call("daemon.stats", {})
        assert other.call("daemon.status", {})["phase"] == "running"
        session = daemon.create("odd")
        assert daemon.run(session, "say hello")["state"] == "completed"
        wait_until(lambda: other.receive(1) and other.take(), "events still come")


def test_a_bug_in_one_sweeper_ends_neither_the_others_nor_its_next_sweep(sabotaged: Sabotaged) -> None:
    daemon, switch = sabotaged("sweeper")
    switch.touch()
    wait_until(lambda: daemon.log.read_text().count("ZeroDivisionError: sabotaged") >= 3, "it sweeps again and again")
    assert daemon.run(daemon.create("odd"), "say hello")["state"] == "completed"
    assert daemon.stop() == 0


def test_a_bug_in_the_queue_runner_is_survived(sabotaged: Sabotaged) -> None:
    """Not S3 weakness 2: what waited meanwhile runs when the runner is well again."""
    daemon, switch = sabotaged("runner")
    session = daemon.create("odd")
    daemon.run(session, "say hello")
    switch.touch()
    turn = daemon.send(session, "say later")
    wait_until(lambda: "ZeroDivisionError" in daemon.log.read_text(), "it fails")
    switch.unlink()
    assert daemon.wait(turn)["state"] == "completed"


def test_a_full_disk_in_one_operation_of_a_group_is_that_ones_error(sabotaged: Sabotaged) -> None:
    """Section 6 rule 4: many write at the same moment; only what is too large fails, and nothing of it stays."""
    daemon, switch = sabotaged("disk")
    sessions = [daemon.create("odd") for _ in range(8)]
    large = daemon.create("odd")
    daemon.run(large, "say hello")
    switch.touch()

    def send(session: str) -> str | RoostError:
        try:
            return daemon.send(session, "x" * 900_000 if session == large else "say small")
        except RoostError as exc:
            return exc

    with ThreadPoolExecutor(9) as pool:
        outcomes = dict(zip([*sessions, large], pool.map(send, [*sessions, large]), strict=True))
    assert isinstance(outcomes.pop(large), StorageFailed)
    assert all(isinstance(outcome, str) for outcome in outcomes.values()), outcomes
    switch.unlink()
    for turn in outcomes.values():
        assert daemon.wait(str(turn))["state"] == "completed"
    assert daemon.session(large)["turns"] == 1 and daemon.run(large, "say room")["state"] == "completed"
    seqs = [event["seq"] for event in daemon.events(large)]
    assert seqs == list(range(1, len(seqs) + 1)), "the numbers of what failed were given out again"
