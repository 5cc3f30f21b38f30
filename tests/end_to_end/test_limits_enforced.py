"""Limits of sessions under the shipped unit, on a kernel and a systemd that enforce them."""

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import pytest

from helpers.booted import ASKED
from helpers.daemon import wait_until
from helpers.machine import Machine

pytestmark = pytest.mark.machine

ROOT = Path(__file__).parents[2]
GREEDY = ROOT / "tests" / "helpers" / "workers" / "greedy.py"
UNIT = "roost@agent.service"
LIMITS: dict[str, Any] = {"memory_max": 64 << 20, "pids_max": 50, "cpu_max": 0.5, "nofile": 100}
CGROUP = f"/system.slice/system-roost.slice/{UNIT}"

SETTINGS = f"""
[engines.python]
kind = "command"
command = ["/usr/bin/python3", "-c"]
memory_max = "32MiB"
[engines.greedy]
command = ["{sys.executable}", "{GREEDY}"]
memory_max = "32MiB"
"""
# The checkout is what runs; an account must be let through to it. All of this is in the machine's memory only.
INSTALL = """
useradd --create-home agent
cp "$1"/systemd/roost@.service /etc/systemd/system/
ln -s "$2/roost" "$2/roostd" /usr/local/bin/
mkdir -p /etc/roost
printf %s "$3" >/etc/roost/roost.toml
unit=$4
shift 4
chmod o+x "$@"
systemctl start "$unit" || { journalctl --unit "$unit" --no-pager; exit 1; }
"""


class Served(NamedTuple):
    """A booted machine with the daemon of an account `agent`, and a client of the account."""

    kernel: Machine
    client: TextIO


@pytest.fixture(scope="module")
def machine(kernel: Machine) -> Iterator[Served]:
    programs = Path(sys.executable).parent
    led = [ROOT, programs, Path(sys.executable).resolve().parent]
    folders = {str(folder) for way in led for folder in (way, *way.parents)}
    kernel.shell(INSTALL, str(ROOT), str(programs), SETTINGS, UNIT, *folders)
    socket = "/run/roost/agent/roost.sock"
    with kernel.converse("runuser", "-u", "agent", "--", sys.executable, "-c", ASKED, socket) as client:
        yield Served(kernel, client)


def call(machine: Served, method: str, **params: Any) -> Any:
    """Any method of the daemon, as the account."""
    machine.client.write(json.dumps([method, params]) + "\n")
    machine.client.flush()
    answer = json.loads(machine.client.readline())
    assert "error" not in answer, (method, params, answer)
    return answer["result"]


def run_turn(machine: Served, session: str, prompt: str, **params: Any) -> dict[str, Any]:
    """Send a prompt and wait for the turn's end."""
    turn = call(machine, "turn.send", session=session, input=prompt, **params)["turn"]["id"]
    ended: dict[str, Any] = call(machine, "turn.wait", turn=turn, timeout=60_000)["turn"]
    return ended


def create(machine: Served, engine: str = "shell", **limits: Any) -> str:
    """A session with these limits; its id."""
    session = call(machine, "session.create", engine=engine, workspace="/home/agent", limits=limits)["session"]
    return str(session["id"])


def output(machine: Served, turn: dict[str, Any]) -> str:
    """All that the commands of a turn printed."""
    items = call(machine, "turn.get", turn=turn["id"])["items"]
    return "".join(item["content"] for item in items if item["kind"] == "command")


def python(code: str) -> str:
    """A line of shell that runs some Python."""
    return f"/usr/bin/python3 -c {shlex.quote(code)}"


def test_every_limit_is_enforced(machine: Served) -> None:
    """The unit's Delegate=yes is enough: a session has a cgroup of its own below the daemon's, which is a leaf."""
    session = create(machine, **LIMITS)
    turn = run_turn(machine, session, "cat /proc/self/cgroup; ulimit -n")
    cgroup, nofile = output(machine, turn).split()
    assert cgroup.startswith(f"0::{CGROUP}/{session}/c-") and nofile == "100"
    daemon = machine.kernel.show(UNIT, "MainPID")
    assert machine.kernel.run("cat", f"/proc/{daemon}/cgroup").stdout.strip() == f"0::{CGROUP}/daemon"
    written = machine.kernel.shell('cd "/sys/fs/cgroup$1"; cat memory.max pids.max cpu.max', f"{CGROUP}/{session}")
    assert written.splitlines() == [str(64 << 20), "50", "50000 100000"]
    assert call(machine, "events.read", session=session, kinds=["session.limits_unenforced"])["events"] == []
    checks = {check["name"]: check["ok"] for check in call(machine, "daemon.status")["checks"]}
    assert {name: checks[name] for name in ("cgroup", *LIMITS)} == dict.fromkeys(("cgroup", *LIMITS), True)


def test_what_takes_too_much_memory_is_ended_and_that_is_said(machine: Served) -> None:
    """A command of a shell: the session goes on, and so do the others."""
    session, other = create(machine, memory_max=32 << 20), create(machine)
    before = run_turn(machine, other, "echo $PPID")
    ended = run_turn(machine, session, "export MARK=here; " + python("bytearray(200 << 20)"))
    assert (ended["state"], ended["problem"]["name"]) == ("failed", "out_of_memory")
    assert output(machine, run_turn(machine, session, "echo $MARK")).strip() == "here"
    assert output(machine, run_turn(machine, other, "echo $PPID")) == output(machine, before)


def test_a_child_out_of_memory_is_told_from_one_that_was_killed(machine: Served) -> None:
    session = create(machine, "python")
    ended = run_turn(machine, session, "bytearray(200 << 20)")
    assert (ended["state"], ended["problem"]["name"]) == ("failed", "out_of_memory")
    ended = run_turn(machine, session, "import os; os.kill(os.getpid(), 9)")
    assert (ended["state"], ended["problem"]["name"]) == ("failed", "turn_failed")
    assert run_turn(machine, session, "bytearray(1 << 20)")["state"] == "completed"


def test_a_worker_that_wants_too_much_is_told_from_one_that_was_killed(machine: Served) -> None:
    session = create(machine, "greedy")
    assert run_turn(machine, session, "1000")["state"] == "completed"
    ended = run_turn(machine, session, str(200 << 20))
    assert (ended["state"], ended["problem"]["name"]) == ("failed", "out_of_memory")
    assert ended["problem"]["data"]["oom_kills"] == 1 and "raise memory_max" in ended["problem"]["message"]

    def shown() -> dict[str, Any]:
        return dict(call(machine, "session.get", session=session)["session"])

    assert wait_until(lambda: shown()["failure"], "that its child died is recorded")["name"] == "out_of_memory"
    call(machine, "session.release", session=session)
    assert run_turn(machine, session, "1000")["state"] == "completed"
    machine.kernel.run("kill", "-9", str(shown()["pid"]))
    assert call(machine, "events.read", session=session, kinds=["session.limits_unenforced"])["events"] == []


def test_a_fork_bomb_is_stopped_and_the_session_goes_on(machine: Served) -> None:
    session = create(machine, pids_max=50)
    turn = call(machine, "turn.send", session=session, input="bomb() { bomb | bomb & }; bomb; sleep 600")["turn"]["id"]
    refused = 'until read -r _ count <"$1/pids.events" && [ "$count" -gt 0 ]; do sleep 0.1; done'
    machine.kernel.shell(refused, f"/sys/fs/cgroup{CGROUP}/{session}")
    call(machine, "turn.cancel", turn=turn)
    assert call(machine, "turn.wait", turn=turn, timeout=60_000)["turn"]["state"] == "cancelled"
    after = run_turn(machine, session, "echo fine")
    assert (after["state"], output(machine, after)) == ("completed", "fine\n")
    left = machine.kernel.shell('cat "$1"/*/cgroup.procs', f"/sys/fs/cgroup{CGROUP}/{session}").split()
    assert left == [str(call(machine, "session.get", session=session)["session"]["pid"])]


def test_a_busy_loop_gets_its_share_of_a_processor(machine: Served) -> None:
    session = create(machine, cpu_max=0.2)
    used = """
import time
end, used = time.monotonic() + 2, time.process_time()
while time.monotonic() < end: pass
print((time.process_time() - used) / 2)
"""
    assert float(output(machine, run_turn(machine, session, python(used)))) < 0.3
