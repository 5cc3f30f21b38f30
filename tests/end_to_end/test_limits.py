"""Limits where the kernel has controllers for them, on this host or in a machine of its own.

On a host, as root: `systemd-run --wait --pipe -p Delegate=yes --working-directory=$PWD .venv/bin/pytest` and this file.
"""

import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from helpers.cgroups import run_in
from helpers.daemon import wait_until
from helpers.machine import Machine
from roost.daemon.process import delegation
from roost.daemon.process.cgroup import Cgroup, Cgroups, find
from roost.daemon.process.launcher import launcher
from roost.daemon.process.proc import Tree
from roost.protocol.errors import LimitUnenforceable
from roost.protocol.model import Limits

ROOT = Path(__file__).parents[2]
SESSION = "s-abcdefgh234567ab"
MIB = 1024 * 1024
FORKS = """
import os, time
count = 0
try:
    while True:
        if not os.fork():
            os.closerange(0, 3)
            time.sleep(600)
        count += 1
except BlockingIOError:
    print(count)
"""


def why_not() -> str | None:
    """The reason why no limit can be enforced here, or None."""
    try:
        here = delegation.delegated(delegation.own())
    except LimitUnenforceable as exc:
        return exc.message
    there = set(
        (here.parent if here.name == delegation.LEAF else here).joinpath("cgroup.controllers").read_text().split()
    )
    missing = delegation.CONTROLLERS.keys() - there
    return f"needs the controllers {', '.join(sorted(missing))} in {here}" if missing else None


@pytest.fixture(scope="module")
def cgroups() -> Iterator[Cgroups]:
    """As a daemon has them: this process is moved into a leaf."""
    if reason := why_not():
        pytest.skip(f"no controllers: {reason}; test_in_a_machine_of_its_own has some")
    found = find("auto")
    assert found.cgroups, found.message
    yield found.cgroups


@contextmanager
def limited(cgroups: Cgroups, **limits: Any) -> Generator[Cgroup]:
    """The leaf of a session's child; one limit does not slow down what another is tested with."""
    cgroup = leaf(cgroups, "c-a", **limits)
    try:
        yield cgroup
    finally:
        assert Cgroup(cgroup.folder.parent).end(10)


def leaf(cgroups: Cgroups, name: str, **limits: Any) -> Cgroup:
    return cgroups.make(Tree(SESSION, name), Limits(**limits), lambda: {"c-a", "c-b"})


def run(cgroup: Cgroup, code: str) -> subprocess.CompletedProcess[str]:
    command = launcher([sys.executable, "-S", "-E", "-c", code], cgroup.procs_path, None)
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.machine
def test_in_a_machine_of_its_own(request: pytest.FixtureRequest) -> None:
    if why_not() is None:
        pytest.skip("this host has controllers")
    kernel: Machine = request.getfixturevalue("kernel")
    service = ["systemd-run", "--quiet", "--wait", "--pipe", "--property=Delegate=yes"]
    service += [f"--working-directory={ROOT}", "--setenv=PATH", "--setenv=HOME=/root"]
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp=/run/tests", __file__]
    # These need neither Trio nor Hypothesis, whose imports take this kernel longer than all of them.
    tests += ["--noconftest", "-p", "no:trio", "-p", "no:hypothesispytest", "-o", "addopts=--import-mode=importlib"]
    tests += ["-W", "ignore:Unknown config option"]
    printed = kernel.run(*service, *tests, timeout=170).stdout
    assert "6 passed, 1 skipped" in printed, printed


def test_all_limits_are_enforceable_and_the_daemon_is_in_a_leaf(cgroups: Cgroups) -> None:
    assert cgroups.enforceable == set(Limits.model_fields)
    assert (cgroups.root / delegation.LEAF / "cgroup.procs").read_text().split() == [str(os.getpid())]
    found = find(str(cgroups.root))
    assert found.message == f"sessions get a cgroup in {cgroups.root}"


def test_other_processes_are_a_reason_to_go_without(cgroups: Cgroups) -> None:
    crowded = cgroups.root / "crowded"
    crowded.mkdir()
    code = "import subprocess\nfrom roost.daemon.process.cgroup import find\n"
    code += "with subprocess.Popen(['sleep', '600']) as other:\n"
    code += f"    found = find({str(crowded)!r})\n    other.kill()\nprint(found.cgroups.enforceable, found.message)"
    printed = run_in(crowded, code)
    assert printed.startswith("frozenset({'nofile'}) other processes (") and str(crowded) in printed
    assert Cgroup(crowded).end(10)


def test_a_kill_for_want_of_memory_is_counted_also_in_a_cgroup_of_its_own_making(cgroups: Cgroups) -> None:
    with limited(cgroups, memory_max=32 * MIB) as cgroup:
        assert (cgroup.folder.parent / "memory.max").read_text() == f"{32 * MIB}\n"
        assert run(cgroup, "bytearray(8 << 20)").returncode == 0 and cgroup.oom_kills() == 0
        assert run(cgroup, "bytearray(b'x' * (200 << 20))").returncode == -9 and cgroup.oom_kills() == 1
        nested = Cgroup(cgroup.folder / "nested")
        nested.folder.mkdir()
        assert run(nested, "bytearray(b'x' * (200 << 20))").returncode == -9 and cgroup.oom_kills() == 2


def test_no_more_processes_than_allowed(cgroups: Cgroups) -> None:
    with limited(cgroups, pids_max=10) as cgroup:
        assert run(cgroup, FORKS).stdout == "9\n"


def test_two_children_have_no_more_together(cgroups: Cgroups) -> None:
    """What the kernel kills for want of memory is counted with the child that it was of."""
    with limited(cgroups, memory_max=64 * MIB, pids_max=10) as cgroup:
        other = leaf(cgroups, "c-b", memory_max=64 * MIB, pids_max=10)
        waits = launcher(["/bin/sh", "-c", "sleep 600 & sleep 600 & sleep 600"], other.procs_path, None)
        with subprocess.Popen(waits) as child:
            wait_until(lambda: len(other.pids()) == 4, "all of it is there")
            assert run(cgroup, FORKS).stdout == "5\n"
            cgroup.kill()
            assert cgroup.wait_empty(10) and child.poll() is None
            assert run(cgroup, "bytearray(b'x' * (200 << 20))").returncode == -9
            assert (cgroup.oom_kills(), other.oom_kills()) == (1, 0) and child.poll() is None
            other.kill()


def test_no_more_of_a_processor_than_allowed(cgroups: Cgroups) -> None:
    with limited(cgroups, cpu_max=0.2) as cgroup:
        run(cgroup, "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass")
        stat = dict(line.split() for line in (cgroup.folder.parent / "cpu.stat").read_text().splitlines())
        assert int(stat["nr_throttled"]) >= 2
