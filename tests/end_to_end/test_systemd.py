"""The shipped units under a real systemd: readiness, a stop that loses nothing, a crash, a socket that starts it."""

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.container import Container, why_not

pytestmark = pytest.mark.container

ROOT = Path(__file__).parents[2]
UNIT = "roost@agent.service"
SESSIONS = 5

# A virtual environment as an administrator would make it; the dependencies are those of the tests.
INSTALL = """
/usr/bin/python3 -m venv --without-pip /opt/roost
PYTHONPATH=/mnt/packages /opt/roost/bin/python -m pip install --quiet --no-deps --no-index --ignore-installed \
  --root-user-action ignore --no-warn-script-location --no-cache-dir /mnt/wheel/*.whl
echo /mnt/packages >"$(echo /opt/roost/lib/python3.*/site-packages)/packages.pth"
useradd --create-home agent
cp /mnt/units/roost@.service /etc/systemd/system/
mkdir -p /etc/systemd/user
cp /mnt/units/roost.service /mnt/units/roost.socket /etc/systemd/user/
ln -s /opt/roost/bin/roost /opt/roost/bin/roostd /usr/local/bin/
systemctl daemon-reload
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A booted machine with roost installed, and an account `agent`."""
    if reason := why_not() or other_python():
        # A machine that should be able to do this must not skip it in silence.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no container with systemd: {reason}")
    folder = tmp_path_factory.mktemp("machine")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    command += ["--no-build-isolation", "--disable-pip-version-check", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, timeout=120)
    packages = Path(sysconfig.get_path("purelib"))
    binds = {"/mnt/wheel": folder, "/mnt/packages": packages, "/mnt/units": ROOT / "systemd"}
    with Container(folder, binds) as container:
        container.run("sh", "-ec", INSTALL)
        yield container


def other_python() -> str | None:
    """The reason why the tests' packages cannot be used by the system's Python, or None."""
    name = f"python3.{sys.version_info.minor}"
    system = Path("/usr/bin/python3").resolve().name
    return None if system == name else f"/usr/bin/python3 is {system}, the tests run on {name}"


def as_agent(machine: Container, *command: str, socket: str = "/run/roost/agent/roost.sock") -> str:
    """Run a command as the account; what it printed."""
    done = machine.run("runuser", "-u", "agent", "--", "env", "--chdir=/home/agent", f"ROOST_SOCKET={socket}", *command)
    return done.stdout


def call(machine: Container, method: str, **params: Any) -> Any:
    """Any method of the daemon, through `roost call`."""
    return json.loads(as_agent(machine, "roost", "call", method, json.dumps(params)))


def run_turn(machine: Container, session: str, prompt: str) -> dict[str, Any]:
    """Send a prompt and wait for the turn's end."""
    turn = call(machine, "turn.send", session=session, input=prompt)["turn"]["id"]
    ended: dict[str, Any] = call(machine, "turn.wait", turn=turn, timeout=30_000)["turn"]
    return ended


def output(machine: Container, turn: str) -> str:
    """All that the commands of a turn printed."""
    return "".join(
        item["content"] for item in call(machine, "turn.get", turn=turn)["items"] if item["kind"] == "command"
    )


@pytest.fixture
def service(machine: Container) -> Iterator[Container]:
    """The account's daemon, started; its state starts empty."""
    machine.run("sh", "-c", f"systemctl start {UNIT} || {{ journalctl -u {UNIT} --no-pager; exit 1; }}")
    yield machine
    if machine.run("systemctl", "is-active", UNIT, check=False).returncode == 0:
        machine.run("systemctl", "stop", UNIT)
        assert machine.show(UNIT, "Result") == "success"
    machine.run("systemctl", "reset-failed", UNIT, check=False)
    machine.run("rm", "-rf", "/var/lib/roost")


def test_start_returns_when_the_daemon_answers(service: Container) -> None:
    assert call(service, "daemon.status")["phase"] == "running"
    assert service.show(UNIT, "StatusText") != ""
    modes = service.run(
        "stat", "-c", "%U %a", "/run/roost/agent", "/run/roost/agent/roost.sock", "/var/lib/roost/agent"
    )
    assert modes.stdout.splitlines() == ["agent 700", "agent 600", "agent 700"]


def test_a_stop_with_live_dirty_sessions_saves_every_one(service: Container) -> None:
    cut_off: dict[str, str] = {}
    for number in range(SESSIONS):
        session = call(service, "session.create", engine="shell", workspace="/home/agent")["session"]["id"]
        assert run_turn(service, session, f"export EARLY={number}")["state"] == "completed"
        prompt = f"cd /tmp; export LATE={number}; touch /tmp/late-{number}; sleep 600"
        cut_off[session] = call(service, "turn.send", session=session, input=prompt)["turn"]["id"]
        service.wait_until("test", "-e", f"/tmp/late-{number}")
    service.run("systemctl", "stop", UNIT)
    assert service.show(UNIT, "Result") == "success"
    assert service.run("pgrep", "-u", "agent", "-f", "sleep 600", check=False).returncode == 1, "an orphan"
    assert service.run("test", "-e", "/run/roost/agent", check=False).returncode == 1

    service.run("systemctl", "start", UNIT)
    (report,) = call(service, "events.read", all=True, kinds=["daemon.stopped"])["events"]
    assert (report["data"]["status"], report["data"]["saved"]) == (0, SESSIONS)
    for number, (session, turn) in enumerate(cut_off.items()):
        assert call(service, "session.checkpoints", session=session)["checkpoints"], session
        ended = call(service, "turn.get", turn=turn)["turn"]
        assert (ended["state"], ended["reason"]) == ("interrupted", "daemon_shutdown")
        after = run_turn(service, session, "echo $EARLY-$LATE-$PWD")
        assert output(service, after["id"]).strip() == f"{number}-{number}-/tmp"


def test_a_crash_is_followed_by_a_new_start_with_everything_there(service: Container) -> None:
    session = call(service, "session.create", engine="shell", workspace="/home/agent", name="kept")["session"]["id"]
    run_turn(service, session, "export MARK=here")
    service.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", UNIT)
    service.wait_until(
        "sh", "-c", f"[ $(systemctl show --value -p NRestarts {UNIT}) = 1 ] && systemctl is-active {UNIT}"
    )
    assert call(service, "session.get", session="kept")["session"]["id"] == session
    assert output(service, run_turn(service, session, "echo $MARK")["id"]).strip() == "here"


def test_agents_can_make_sandboxes_under_the_template(service: Container) -> None:
    if service.run("sh", "-c", "command -v bwrap", check=False).returncode != 0:
        pytest.skip("bubblewrap is not installed")
    session = call(service, "session.create", engine="shell", workspace="/home/agent")["session"]["id"]
    sandbox = "bwrap --ro-bind / / --dev /dev --proc /proc --unshare-all --hostname box uname -n"
    turn = run_turn(service, session, sandbox)
    assert (turn["state"], output(service, turn["id"]).strip()) == ("completed", "box")


def test_a_wrong_configuration_is_not_started_again(service: Container) -> None:
    service.run("systemctl", "stop", UNIT)
    service.run("sh", "-c", "echo 'no_such_key = 1' >/etc/roost/roost.toml")
    assert service.run("systemctl", "start", UNIT, check=False).returncode != 0
    service.run("rm", "/etc/roost/roost.toml")
    assert (service.show(UNIT, "ExecMainStatus"), service.show(UNIT, "NRestarts")) == ("2", "0")
    assert "no_such_key" in service.run("journalctl", "-u", UNIT, "-o", "cat", "--no-pager").stdout


def test_a_users_socket_starts_the_daemon_and_outlives_its_stop(machine: Container) -> None:
    machine.run("loginctl", "enable-linger", "agent")
    folder = f"/run/user/{machine.run('id', '-u', 'agent').stdout.strip()}"
    machine.wait_until("test", "-S", f"{folder}/systemd/private")

    def systemctl(*words: str) -> str:
        return as_agent(machine, "env", f"XDG_RUNTIME_DIR={folder}", "systemctl", "--user", *words).strip()

    systemctl("start", "roost.socket")
    assert systemctl("show", "--value", "-p", "ActiveState", "roost.service") == "inactive"
    for _ in range(2):
        socket = f"{folder}/roost/roost.sock"
        as_agent(machine, "roost", "ls", socket=socket)
        assert systemctl("is-active", "roost.service") == "active"
        status = json.loads(as_agent(machine, "roost", "call", "daemon.status", socket=socket))
        assert status["state_directory"] == "/home/agent/.local/state/roost"
        systemctl("stop", "roost.service")
        assert systemctl("show", "--value", "-p", "Result", "roost.service") == "success"
        machine.run("test", "-S", socket)
    systemctl("stop", "roost.socket")
