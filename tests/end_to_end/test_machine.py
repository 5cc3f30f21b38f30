"""The kernel that the tests of limits run on: it holds to cgroup version 2 what a process takes, by itself."""

import pytest

from helpers.machine import Machine

pytestmark = pytest.mark.machine

LIMITED = """
cd /sys/fs/cgroup
echo +memory +pids +cpu >cgroup.subtree_control
mkdir limited
echo "$2" >"limited/$1"
(echo 0 >limited/cgroup.procs; exec /usr/bin/python3 -c "$3") && status=0 || status=$?
cat "limited/$4"
rmdir limited
exit $status
"""
"""Runs Python in a new cgroup with one limit, then prints a file in which the kernel counts."""


@pytest.fixture
def machine(kernel: Machine) -> Machine:
    return kernel


def limited(machine: Machine, limit: tuple[str, str], code: str, counts: str) -> tuple[int, dict[str, str]]:
    """The exit status of some Python that runs under one limit, and the `name value` lines printed by it and after."""
    done = machine.run("sh", "-euc", LIMITED, "sh", *limit, code, counts, check=False)
    lines = [line.split() for line in done.stdout.splitlines()]
    return done.returncode, {line[0]: line[1] for line in lines if len(line) == 2}


def test_systemd_runs_on_version_2_alone(machine: Machine) -> None:
    assert machine.run("systemctl", "is-system-running").stdout == "running\n"
    assert {"memory", "pids", "cpu"} <= set(machine.run("cat", "/sys/fs/cgroup/cgroup.controllers").stdout.split())
    assert machine.run("cat", "/proc/self/cgroup").stdout == "0::/system.slice/obey.service\n"


def test_an_exit_status_and_both_streams_come_back(machine: Machine) -> None:
    done = machine.run("sh", "-c", "echo 'said '; echo wrong >&2; exit 7", check=False)
    assert (done.returncode, done.stdout) == (7, "said \nwrong\n")


def test_nothing_of_this_machine_is_written(machine: Machine) -> None:
    """What is made in the machine is in its memory, except in the folder that is shared."""
    shared, private = machine.folder / "shared", machine.folder.parent / "private"
    assert machine.run("sh", "-euc", 'echo here | tee "$@"', "sh", str(shared), str(private)).stdout == "here\n"
    assert machine.run("cat", str(private)).stdout == "here\n"
    assert (shared.read_text(), private.exists()) == ("here\n", False)


def test_memory_max_is_a_kill(machine: Machine) -> None:
    status, counted = limited(machine, ("memory.max", "40M"), "bytearray(200 << 20)", "memory.events")
    assert (status, counted["oom_kill"]) == (137, "1")
    status, counted = limited(machine, ("memory.max", "40M"), "bytearray(1 << 20)", "memory.events")
    assert (status, counted["oom_kill"]) == (0, "0")


def test_pids_max_is_a_fork_that_fails(machine: Machine) -> None:
    forks = """
import os, signal, time
pids = []
try:
    for _ in range(20):
        pids.append(os.fork())
        if not pids[-1]: signal.pause()
except BlockingIOError:
    for pid in pids: os.kill(pid, 9); os.waitpid(pid, 0)
    print("children", len(pids))
"""
    status, counted = limited(machine, ("pids.max", "10"), forks, "pids.events")
    assert (status, counted["children"], counted["max"]) == (0, "9", "1")


def test_cpu_max_is_a_share(machine: Machine) -> None:
    busy = """
import time
end, used = time.monotonic() + 2, time.process_time()
while time.monotonic() < end: pass
print("share", (time.process_time() - used) / 2)
"""
    status, counted = limited(machine, ("cpu.max", "20000 100000"), busy, "cpu.stat")
    assert status == 0
    assert float(counted["share"]) < 0.3
    assert int(counted["nr_throttled"]) > 5
