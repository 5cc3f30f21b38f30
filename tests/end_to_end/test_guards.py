"""A bug in one session, one connection, one sweeper or the runner, or a full disk for one: all others go on working."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers.daemon import Daemon, wait_until
from helpers.engines import engines
from helpers.sabotaged import command
from roost.protocol.errors import ConnectionLost, RoostError, StorageFailed


@pytest.fixture(scope="module")
def switches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a file turns on the fault of its name."""
    return tmp_path_factory.mktemp("switches")


@pytest.fixture(scope="module")
def one_daemon(tmp_path_factory: pytest.TempPathFactory, switches: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path_factory.mktemp("guards") / "s", engines("[sessions]\nidle_sweep = '50ms'\n"))
    try:
        yield daemon.start(*command(switches))
        said = sweeps_in_vain(daemon)
        (switches / "sweeper").touch()
        wait_until(lambda: sweeps_in_vain(daemon) > said, "it sweeps in vain")
        assert daemon.stop() == 0, "it stops in order after all these bugs, and while it sweeps in vain"
    finally:
        daemon.close()


def sweeps_in_vain(daemon: Daemon) -> int:
    return daemon.log.read_text().count("Error: sabotaged: sweeper")


@pytest.fixture
def daemon(shared: Daemon, switches: Path) -> Iterator[Daemon]:
    yield shared
    for switch in switches.iterdir():
        switch.unlink()


def test_a_bug_in_one_session_is_internal_error_there_and_nothing_elsewhere(daemon: Daemon, switches: Path) -> None:
    broken, sound = daemon.create("odd", name="broken"), daemon.create("odd")
    daemon.run(sound, "say hello")
    pid = daemon.session(sound)["pid"]
    (switches / "session").touch()
    turn = daemon.run(broken, "say hello")
    assert (turn["state"], turn["problem"]["name"]) == ("failed", "internal_error")
    assert "ZeroDivisionError: sabotaged: session" in daemon.log.read_text()
    assert daemon.run(sound, "say more")["state"] == "completed" and daemon.session(sound)["pid"] == pid
    assert daemon.call("session.wait", session=broken)["session"]["state"] == "idle"
    (switches / "session").unlink()
    assert daemon.run(broken, "say well again")["state"] == "completed"


def test_a_bug_in_one_connection_ends_that_one(daemon: Daemon, switches: Path) -> None:
    with daemon.connect() as other, daemon.connect() as broken:
        other.call("events.subscribe", {"all": True})
        (switches / "connection").touch()
        with pytest.raises(ConnectionLost):
            broken.call("daemon.stats", {})
        assert other.call("daemon.status", {})["phase"] == "running"
        session = daemon.create("odd")
        assert daemon.run(session, "say hello")["state"] == "completed"
        wait_until(lambda: other.receive(1) and other.take(), "events still come")


def test_a_bug_in_one_sweeper_ends_neither_the_others_nor_its_next_sweep(daemon: Daemon, switches: Path) -> None:
    (switches / "sweeper").touch()
    wait_until(lambda: sweeps_in_vain(daemon) >= 3, "it sweeps again and again")
    assert daemon.run(daemon.create("odd"), "say hello")["state"] == "completed"


def test_a_bug_in_the_queue_runner_is_survived(daemon: Daemon, switches: Path) -> None:
    """What waited meanwhile runs when the runner is well again."""
    session = daemon.create("odd")
    daemon.run(session, "say hello")
    (switches / "runner").touch()
    turn = daemon.send(session, "say later")
    wait_until(lambda: "ZeroDivisionError: sabotaged: runner" in daemon.log.read_text(), "it fails")
    (switches / "runner").unlink()
    assert daemon.wait(turn)["state"] == "completed"


def test_a_full_disk_in_one_operation_of_a_group_is_that_ones_error(daemon: Daemon, switches: Path) -> None:
    """Many write at the same moment; only what is too large fails, and nothing of it stays."""
    sessions = [daemon.create("odd") for _ in range(8)]
    large = daemon.create("odd")
    daemon.run(large, "say hello")
    (switches / "disk").touch()

    def send(session: str) -> str | RoostError:
        try:
            return daemon.send(session, "x" * 900_000 if session == large else "say small")
        except RoostError as exc:
            return exc

    with ThreadPoolExecutor(9) as pool:
        outcomes = dict(zip([*sessions, large], pool.map(send, [*sessions, large]), strict=True))
    assert isinstance(outcomes.pop(large), StorageFailed)
    assert all(isinstance(outcome, str) for outcome in outcomes.values()), outcomes
    (switches / "disk").unlink()
    for turn in outcomes.values():
        assert daemon.wait(str(turn))["state"] == "completed"
    assert daemon.session(large)["turns"] == 1 and daemon.run(large, "say room")["state"] == "completed"
    seqs = [event["seq"] for event in daemon.events(large)]
    assert seqs == list(range(1, len(seqs) + 1)), "the numbers of what failed were given out again"
