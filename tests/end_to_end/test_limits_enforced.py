"""Limits of sessions under the shipped unit, on a kernel and a systemd that enforce them."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers.booted import ASKED
from helpers.machine import Machine

pytestmark = pytest.mark.machine

ROOT = Path(__file__).parents[2]
UNIT = "roost@agent.service"
LIMITS: dict[str, Any] = {"memory_max": 64 << 20, "pids_max": 50, "cpu_max": 0.5, "nofile": 100}
CGROUP = f"/system.slice/system-roost.slice/{UNIT}"

# The checkout is what runs; an account must be let through to it. All of this is in the machine's memory only.
INSTALL = """
useradd --create-home agent
cp "$1"/systemd/roost@.service /etc/systemd/system/
for program in roost roostd; do ln -s "$2/$program" /usr/local/bin/; done
for folder in "$1" "$2" "$(dirname "$(realpath "$2/python")")"; do
  while [ "$folder" != / ]; do chmod o+x "$folder"; folder=$(dirname "$folder"); done
done
mkdir -p /etc/roost
printf '[engines.python]\\nkind = "command"\\ncommand = ["/usr/bin/python3", "-c"]\\nmemory_max = "64MiB"\\n' \\
  >/etc/roost/roost.toml
systemctl daemon-reload
systemctl start "$3" || { journalctl --unit "$3" --no-pager; exit 1; }
mkfifo /run/asked /run/answered
runuser -u agent -- "$2/python" -c "$4" /run/roost/agent/roost.sock <>/run/asked 1<>/run/answered 2>/run/asked.log &
"""


@pytest.fixture(scope="module")
def machine(kernel: Machine) -> Machine:
    """A booted machine with the daemon of an account `agent`."""
    kernel.shell(INSTALL, str(ROOT), str(Path(sys.executable).parent), UNIT, ASKED)
    return kernel


def call(machine: Machine, method: str, **params: Any) -> Any:
    """Any method of the daemon, as the account."""
    ask = 'printf "%s\\n" "$1" >/run/asked; head -n 1 /run/answered'
    answer = json.loads(machine.shell(ask, json.dumps([method, params])))
    assert "error" not in answer, (method, params, answer)
    return answer["result"]


def run_turn(machine: Machine, session: str, prompt: str, **params: Any) -> dict[str, Any]:
    """Send a prompt and wait for the turn's end."""
    turn = call(machine, "turn.send", session=session, input=prompt, **params)["turn"]["id"]
    ended: dict[str, Any] = call(machine, "turn.wait", turn=turn, timeout=60_000)["turn"]
    return ended


def create(machine: Machine, engine: str = "shell", **limits: Any) -> str:
    """A session with these limits; its id."""
    session = call(machine, "session.create", engine=engine, workspace="/home/agent", limits=limits)["session"]
    return str(session["id"])


def output(machine: Machine, turn: dict[str, Any]) -> str:
    """All that the commands of a turn printed."""
    items = call(machine, "turn.get", turn=turn["id"])["items"]
    return "".join(item["content"] for item in items if item["kind"] == "command")


def python(code: str) -> str:
    """A line of shell that runs some Python."""
    return f"/usr/bin/python3 -c {shlex.quote(code)}"


def test_every_limit_is_enforced(machine: Machine) -> None:
    """The unit's Delegate=yes is enough: a session has a cgroup of its own below the daemon's, which is a leaf."""
    session = create(machine, **LIMITS)
    turn = run_turn(machine, session, "cat /proc/self/cgroup; ulimit -n")
    assert output(machine, turn).split() == [f"0::{CGROUP}/{session}", "100"]
    daemon = machine.show(UNIT, "MainPID")
    assert machine.run("cat", f"/proc/{daemon}/cgroup").stdout.strip() == f"0::{CGROUP}/daemon"
    written = machine.shell('cd "/sys/fs/cgroup$1"; cat memory.max pids.max cpu.max', f"{CGROUP}/{session}")
    assert written.splitlines() == [str(64 << 20), "50", "50000 100000"]
    assert call(machine, "events.read", session=session, kinds=["session.limits_unenforced"])["events"] == []
    checks = {check["name"]: check["ok"] for check in call(machine, "daemon.status")["checks"]}
    assert {name: checks[name] for name in ("cgroup", *LIMITS)} == dict.fromkeys(("cgroup", *LIMITS), True)


def test_what_takes_too_much_memory_is_ended_and_that_is_said(machine: Machine) -> None:
    """A command of a shell: the session goes on, and so do the others."""
    session, other = create(machine, memory_max=64 << 20), create(machine)
    before = run_turn(machine, other, "echo $PPID")
    ended = run_turn(machine, session, "export MARK=here; " + python("bytearray(200 << 20)"))
    assert (ended["state"], ended["problem"]["name"]) == ("failed", "out_of_memory")
    assert output(machine, run_turn(machine, session, "echo $MARK")).strip() == "here"
    assert output(machine, run_turn(machine, other, "echo $PPID")) == output(machine, before)


def test_a_child_out_of_memory_is_told_from_one_that_was_killed(machine: Machine) -> None:
    session = create(machine, "python")
    ended = run_turn(machine, session, "bytearray(200 << 20)")
    assert (ended["state"], ended["problem"]["name"]) == ("failed", "out_of_memory")
    ended = run_turn(machine, session, "import os; os.kill(os.getpid(), 9)")
    assert (ended["state"], ended["problem"]["name"]) == ("failed", "turn_failed")
    assert run_turn(machine, session, "bytearray(1 << 20)")["state"] == "completed"


def test_a_fork_bomb_is_stopped_and_the_session_goes_on(machine: Machine) -> None:
    session = create(machine, pids_max=50)
    turn = call(machine, "turn.send", session=session, input="bomb() { bomb | bomb & }; bomb; sleep 600")["turn"]["id"]
    machine.wait_until(
        "sh", "-euc", '[ "$(cut -c5- "$1/pids.events")" -gt 0 ]', "sh", f"/sys/fs/cgroup{CGROUP}/{session}"
    )
    call(machine, "turn.cancel", turn=turn)
    assert call(machine, "turn.wait", turn=turn, timeout=60_000)["turn"]["state"] == "cancelled"
    after = run_turn(machine, session, "echo fine")
    assert (after["state"], output(machine, after)) == ("completed", "fine\n")
    left = machine.run("cat", f"/sys/fs/cgroup{CGROUP}/{session}/cgroup.procs").stdout.split()
    assert left == [str(call(machine, "session.get", session=session)["session"]["pid"])]


def test_a_busy_loop_gets_its_share_of_a_processor(machine: Machine) -> None:
    session = create(machine, cpu_max=0.2)
    used = """
import time
end, used = time.monotonic() + 2, time.process_time()
while time.monotonic() < end: pass
print((time.process_time() - used) / 2)
"""
    assert float(output(machine, run_turn(machine, session, python(used)))) < 0.3
