"""Fixtures of all tests."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from helpers.daemon import Daemon

# No timed assertion in a test: a loaded machine is slow, not wrong. CI tries the same examples each time.
settings.register_profile("roost", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("roost")

# A shell script that runs this in its background has it ignore Ctrl-C, and so would each command that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


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
