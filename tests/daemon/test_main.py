"""The command ``roostd`` before it is a daemon."""

import errno
import os
import subprocess
import sys

import pytest

from roost import __version__
from roost.daemon.__main__ import (
    FAILED,
    WRONG,
    _explain,  # pyright: ignore[reportPrivateUsage]
    _status,  # pyright: ignore[reportPrivateUsage]
)
from roost.protocol.errors import StateDirectoryUnusable


def python(*arguments: str) -> str:
    """What it prints."""
    command = [sys.executable, "-P", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def test_it_says_its_version() -> None:
    assert python("-m", "roost.daemon", "--version") == f"roostd {__version__}\n"


@pytest.mark.parametrize(
    ("argument", "status", "said"),
    [("--help", 0, "The supervisor for AI-agent sessions."), ("--fast", 2, "unrecognized arguments: --fast")],
)
def test_it_explains_itself_and_refuses_what_it_does_not_know(
    argument: str, status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["roostd", argument])
    with pytest.raises(SystemExit) as ended:
        _explain()
    assert ended.value.code == status
    out, err = capsys.readouterr()
    assert said in (err if status else out)


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


def test_what_only_a_mistake_or_a_question_needs_is_not_in_a_daemons_memory() -> None:
    """psutil is imported by whoever asks first what the processes use."""
    code = "import sys, roost.daemon.__main__; print(sys.modules.keys() & {'argparse', 'difflib', 'psutil'})"
    assert python("-c", code) == "set()\n"
