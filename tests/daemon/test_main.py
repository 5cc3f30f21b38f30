"""The command ``roostd`` before it is a daemon."""

import errno
import os
import subprocess
import sys

import pytest

from roost import __version__
from roost.daemon.__main__ import FAILED, WRONG, _status  # pyright: ignore[reportPrivateUsage]
from roost.protocol.errors import StateDirectoryUnusable


def roostd(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "roost.daemon", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def test_it_says_its_version() -> None:
    assert roostd("--version").stdout == f"roostd {__version__}\n"


def test_it_explains_itself() -> None:
    assert "The supervisor for AI-agent sessions." in roostd("--help").stdout


def test_it_refuses_what_it_does_not_know() -> None:
    refused = roostd("--fast")
    assert refused.returncode == 2
    assert "unrecognized arguments: --fast" in refused.stderr


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (errno.ENOSPC, FAILED),
        (errno.EDQUOT, FAILED),
        (errno.EIO, FAILED),
        (errno.ENOMEM, FAILED),
        (errno.EACCES, WRONG),
        (errno.ENOTDIR, WRONG),
    ],
)
def test_a_start_that_may_do_better_later_is_tried_again(number: int, status: int) -> None:
    """systemd does not start it again where somebody has to correct something first."""
    error = StateDirectoryUnusable("the state directory cannot be used; name another")
    error.__cause__ = OSError(number, os.strerror(number))
    assert _status(error) == status


@pytest.mark.parametrize("module", ["argparse", "difflib"])
def test_what_only_a_mistake_needs_is_not_in_a_daemons_memory(module: str) -> None:
    code = f"import sys, roost.daemon.__main__; print({module!r} in sys.modules)"
    command = [sys.executable, "-P", "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout == "False\n"
