"""``roost doctor``: every check with what to do, with a daemon and without, and its exit status."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.cgroups import scratch
from helpers.cli import Roost
from helpers.daemon import Daemon, running
from roost.client import checks
from roost.protocol.model import Check

OF_THE_HOST = ["state_directory", "socket", "pidfd", "subreaper", "children"]
OF_THE_DAEMON = ["cgroup", "memory_max", "pids_max", "cpu_max", "nofile", "beyond_reach", "descriptors"]


def found(roost: Roost) -> dict[str, Any]:
    """The checks by name."""
    records = [json.loads(line) for line in roost("doctor", "--json").out.splitlines()]
    return {record["name"]: Check.model_validate(record) for record in records}


@pytest.fixture
def named(tmp_path: Path) -> Iterator[Path]:
    with scratch() as cgroup:
        yield cgroup


def test_without_a_daemon_none_is_started_and_the_host_is_looked_at(roostd: Daemon) -> None:
    roost = Roost(roostd)
    roost.environ.pop("ROOST_NO_START")
    told = found(roost)
    assert [name for name in told if name not in ("units", "lingering")] == ["daemon", *OF_THE_HOST]
    assert told["daemon"].ok and "roost daemon start" in told["daemon"].message
    assert not roostd.socket.exists()


def test_with_a_daemon_it_tells_what_only_that_knows(named: Path) -> None:
    with running(config=f'[daemon]\ncgroup = "{named}"\n') as daemon:
        told = found(Roost(daemon))
    assert list(told)[: len(OF_THE_DAEMON) + 7] == ["daemon", "storage", *OF_THE_DAEMON, *OF_THE_HOST]
    assert told["cgroup"].ok and told["beyond_reach"].ok
    assert all(told[name].ok for name in ("daemon", "storage", "nofile", *OF_THE_HOST))


def test_what_is_not_fine_is_1_and_says_what_to_do() -> None:
    with running(config='[daemon]\ncgroup = "off"\n') as daemon:
        done = Roost(daemon)("doctor")
    assert done.status == 1
    assert "NOT OK  memory_max       cannot be enforced here; see cgroup\n" in done.out
    assert 'NOT OK  cgroup           daemon.cgroup is "off"; set it to "auto"' in done.out


def test_modes_that_let_others_in_are_found(roost: Roost) -> None:
    state, socket = roost.daemon.state, roost.daemon.socket
    try:
        os.chmod(state, 0o755)
        os.chmod(socket, 0o622)
        told = found(roost)
    finally:
        os.chmod(state, 0o700)
        os.chmod(socket, 0o600)
    assert not told["state_directory"].ok and "chmod 700" in told["state_directory"].message
    assert not told["socket"].ok and "chmod 600" in told["socket"].message


def test_what_is_there_and_is_no_daemon_is_said(roostd: Daemon) -> None:
    roostd.socket.parent.mkdir(parents=True, mode=0o700)
    roostd.socket.touch()
    told = found(Roost(roostd))
    assert not told["socket"].ok and "is no socket" in told["socket"].message


def test_the_kernel_that_roost_runs_on_has_what_it_needs() -> None:
    assert [check["name"] for check in checks.kernel() if not check["ok"]] == []


def test_a_directory_that_cannot_be_looked_at_is_not_taken_for_a_new_one(roostd: Daemon, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    roost = Roost(roostd)
    roost.environ["ROOST_STATE_DIRECTORY"] = str(tmp_path / "loop")
    told = found(roost)["state_directory"]
    assert not told.ok and told.message == f"{tmp_path}/loop cannot be looked at: {os.strerror(40)}; correct that"
