"""Fixtures of all tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.daemon import Daemon


@pytest.fixture
def roostd(tmp_path: Path) -> Iterator[Daemon]:
    """A state directory without a daemon; what the test starts on it is ended."""
    daemon = Daemon(tmp_path / "s")
    yield daemon
    daemon.close()


@pytest.fixture
def daemon(roostd: Daemon) -> Daemon:
    """A started daemon."""
    return roostd.start()
