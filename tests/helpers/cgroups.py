"""A cgroup of a test's own, below the one that the tests run in."""

import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from helpers.container import own_cgroup, removed
from roost.daemon.process.launcher import launcher


def why_not() -> str | None:
    """The reason why no cgroup can be made here, or None."""
    here = own_cgroup()
    if here is None:
        return "needs a cgroup2 file system"
    if not os.access(here, os.W_OK) or not os.access(here / "cgroup.procs", os.W_OK):
        return f"needs the right to make cgroups in {here}"
    return None


@contextmanager
def scratch() -> Generator[Path]:
    """An empty cgroup; what is left in it at the end is killed."""
    if reason := why_not():
        # A machine that should be able to do this must not skip it in silence.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no cgroup: {reason}")
    here = own_cgroup()
    assert here
    folder = here / f"roost-test-{os.getpid()}-{time.monotonic_ns()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        (folder / "cgroup.kill").write_text("1")
        deadline = time.monotonic() + 10
        while not removed(folder):
            assert time.monotonic() < deadline, f"processes survive in {folder}"
            time.sleep(0.01)


def run_in(folder: Path, code: str, *, timeout: float = 30) -> str:
    """What this Python code prints when it runs in that cgroup."""
    command = launcher([sys.executable, "-c", code], str(folder / "cgroup.procs"), None)
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
