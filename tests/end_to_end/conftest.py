"""What several tests of real runs share: a module's daemon, a used state directory, a booted machine of each kind."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.cli import SETTINGS, Roost
from helpers.daemon import Daemon, alive, running, wait_until
from helpers.installed import Installed, installed
from helpers.machine import Machine, require


@pytest.fixture(scope="module")
def settings() -> str:
    """Those of the daemon that the tests of a module share; a module that wants others says so by this name."""
    return ""


@pytest.fixture(scope="module")
def one_daemon(settings: str) -> Iterator[Daemon]:
    with running(config=settings) as daemon:
        yield daemon


@pytest.fixture
def shared(one_daemon: Daemon, tmp_path: Path) -> Iterator[Daemon]:
    """The daemon of the module's tests, for a start costs more than most of them. Who ends it starts it again.

    Each finds it without a session, and with an empty workspace.
    """
    assert alive(one_daemon.pid), "the daemon that these tests share has ended in an earlier one; see there"
    one_daemon.workspace = tmp_path / "workspace"
    one_daemon.workspace.mkdir()
    yield one_daemon
    assert alive(one_daemon.pid), f"the daemon that these tests share ended in this one:\n{one_daemon.log.read_text()}"
    one_daemon.delete_all()


@pytest.fixture(scope="session")
def commanded() -> Iterator[Daemon]:
    with running(config=SETTINGS) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def roost(commanded: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roost]:
    """The command, on a daemon that modules share: each finds it without a session, and with an empty workspace."""
    assert alive(commanded.pid), "the daemon that these modules share has ended in an earlier one; see there"
    commanded.workspace = tmp_path_factory.mktemp("workspace")
    wait_until(lambda: commanded.call("daemon.status")["clients"] == 1, "the commands of earlier modules are gone")
    yield Roost(commanded)
    assert alive(commanded.pid), f"the daemon that modules share ended in this one:\n{commanded.log.read_text()}"
    commanded.delete_all()


@pytest.fixture(scope="session")
def used_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with running(tmp_path_factory.mktemp("used") / "s") as daemon:
        daemon.run(daemon.create(), "echo hello")
        assert daemon.stop() == 0
        return daemon.state


@pytest.fixture
def used(roostd: Daemon, used_directory: Path) -> Daemon:
    """A state directory with a session and a turn in its database, without a daemon."""
    shutil.copytree(used_directory, roostd.state)
    return roostd


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """A booted machine with roost installed, and an account `agent`."""
    with installed(tmp_path_factory.mktemp("machine")) as container:
        yield container


@pytest.fixture(scope="session")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A booted machine with a kernel of its own."""
    require()
    with Machine(tmp_path_factory.mktemp("kernel")) as machine:
        yield machine
