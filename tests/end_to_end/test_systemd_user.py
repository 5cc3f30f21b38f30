"""A user's own units under a real systemd: ``roost daemon install``, the socket that starts it, ``uninstall``."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from helpers.installed import Installed

pytestmark = pytest.mark.container

FOLDER = "/home/agent/.config/systemd/user"
STATE = "/home/agent/.local/state/roost"
CLEAN = f"""
roost daemon stop --no-start
systemctl --user stop roost.socket roost.service
systemctl --user reset-failed
rm -rf {FOLDER} {STATE} /home/agent/.config/roost
systemctl --user daemon-reload
"""


class User:
    """The account after a log-in."""

    def __init__(self, machine: Installed) -> None:
        self.machine = machine
        self.runtime = f"/run/user/{machine.ids[0]}"
        self.socket = f"{self.runtime}/roost/roost.sock"
        machine.wait_until("test", "-S", f"{self.runtime}/systemd/private")

    def __call__(self, *command: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return self.machine.as_agent(*command, check=check, environ={"XDG_RUNTIME_DIR": self.runtime})

    def systemctl(self, *words: str, check: bool = True) -> str:
        return self("systemctl", "--user", *words, check=check).stdout.strip()

    def show(self, unit: str, name: str) -> str:
        return self.systemctl("show", "--value", "-p", name, unit)

    def call(self, method: str, **params: Any) -> Any:
        return json.loads(self("roost", "call", method, json.dumps(params)).stdout)

    def files(self) -> list[str]:
        found = self("find", FOLDER, "-mindepth", "1", check=False)
        return sorted(found.stdout.split()) if found.returncode == 0 else []


@pytest.fixture
def user(machine: Installed) -> Iterator[User]:
    made = User(machine)
    yield made
    made("sh", "-c", CLEAN)


def install(user: User) -> None:
    done = user("roost", "daemon", "install").stdout
    assert f"changed {FOLDER}/roost.service\nchanged {FOLDER}/roost.socket\n" in done


def test_install_listens_and_uninstall_takes_exactly_that_away(user: User) -> None:
    user("mkdir", "-p", FOLDER)
    user("sh", "-c", f"echo '[Service]' >{FOLDER}/own.service")
    before = user.files()
    install(user)
    assert (user.show("roost.socket", "ActiveState"), user.show("roost.socket", "UnitFileState")) == (
        "active",
        "enabled",
    )
    assert user.show("roost.service", "ActiveState") == "inactive", "the first command starts it"
    assert f"{FOLDER}/roost.service.d" not in user.files(), "roostd is found without help"
    session = user.call("session.create", engine="shell", workspace="/home/agent", name="kept")["session"]["id"]
    again = json.loads(user("roost", "--json", "daemon", "install").stdout)
    assert again == {"folder": FOLDER, "changed": [], "lingers": True}
    assert user.show("roost.service", "ActiveState") == "active", "nothing was stopped"

    user.call("turn.send", session=session, input="export A=1")
    user.call("session.wait", session=session)
    removed = user("roost", "daemon", "uninstall").stdout
    assert removed == f"removed {FOLDER}/roost.service\nremoved {FOLDER}/roost.socket\n"
    assert user.files() == before
    assert user.machine.pids("roostd|roost.worker") == []
    assert user("test", "-e", user.socket, check=False).returncode == 1
    assert user.show("roost.service", "LoadState") == user.show("roost.socket", "LoadState") == "not-found"
    assert "there is nothing of roost's" in user("roost", "daemon", "uninstall").stdout
    install(user)
    assert user.call("session.get", session="kept")["session"]["id"] == session, "the sessions are not units"


@pytest.mark.parametrize("gone", [["roost.service"], ["roost.socket"], ["roost.service", "roost.socket"]])
def test_an_uninstall_that_was_cut_short_is_gone_on_with(user: User, gone: list[str]) -> None:
    user("env", "XDG_STATE_HOME=/home/agent/state", "roost", "daemon", "install")
    user("roost", "ls")
    assert f"{FOLDER}/roost.service.d/installed.conf" in user.files()
    if gone != ["roost.socket"]:  # the service goes first, after both were stopped and disabled
        user.systemctl("disable", "--now", "roost.socket", "roost.service")
    user("rm", *(f"{FOLDER}/{name}" for name in gone))
    user("roost", "daemon", "uninstall")
    assert user.files() == []
    assert user.machine.pids("roostd|roost.worker") == []
    assert user("test", "-e", user.socket, check=False).returncode == 1
    assert user.show("roost.service", "LoadState") == user.show("roost.socket", "LoadState") == "not-found"
    assert "there is nothing of roost's" in user("roost", "daemon", "uninstall").stdout
    user("rm", "-r", "/home/agent/state")


def test_the_socket_starts_the_daemon_and_outlives_its_stop(user: User) -> None:
    install(user)
    for _ in range(2):
        user("roost", "ls")
        assert user.systemctl("is-active", "roost.service") == "active"
        status = user.call("daemon.status")
        assert (status["state_directory"], status["socket"]) == (STATE, user.socket)
        user.systemctl("stop", "roost.service")
        assert user.show("roost.service", "Result") == "success"
        user("test", "-S", user.socket)


def test_a_refused_database_behind_the_socket_answers_each_call_with_its_reason(user: User) -> None:
    install(user)
    user("roost", "ls")
    user.systemctl("stop", "roost.service")
    user("sh", "-c", f"echo no database >{STATE}/roost.db")
    for _ in range(3):
        for command in (["ls"], ["run", "true"], ["daemon", "reload"]):
            done = user("roost", *command, check=False)
            assert done.returncode == 8 and f"{STATE}/roost.db" in done.stdout, done.stdout
    assert user.call("daemon.status")["phase"] == "refused"
    assert (user.show("roost.service", "ActiveState"), user.show("roost.service", "NRestarts")) == ("active", "0")
    assert user.show("roost.service", "StatusText").startswith("refused: ")
    assert user.show("roost.socket", "ActiveState") == "active"
    user.systemctl("stop", "roost.service")
    assert user.show("roost.service", "ExecMainStatus") == "10"


def test_a_reload_finds_the_daemon_that_got_its_socket_from_systemd(user: User) -> None:
    install(user)
    user("roost", "ls")
    main = user.show("roost.service", "MainPID")
    user("sh", "-c", "mkdir -p ~/.config/roost; echo 'limits.queue = 5' >~/.config/roost/roost.toml")
    user.systemctl("reload", "roost.service")
    assert user.call("hello", protocol=1, client={"name": "test"})["limits"]["queue"] == 5
    user("sh", "-c", "echo 'limits.queue = 0' >~/.config/roost/roost.toml")
    assert user("systemctl", "--user", "reload", "roost.service", check=False).returncode != 0
    assert user.call("hello", protocol=1, client={"name": "test"})["limits"]["queue"] == 5
    assert user.show("roost.service", "MainPID") == main


def test_a_program_that_is_not_on_the_units_path_is_found(user: User) -> None:
    user("cp", "-r", "/opt/roost", "/home/agent/tools")
    for name in ("roost", "roostd"):
        user("sed", "-i", "1s|.*|#!/home/agent/tools/bin/python|", f"/home/agent/tools/bin/{name}")
    done = user("/home/agent/tools/bin/roost", "daemon", "install").stdout
    assert f"changed {FOLDER}/roost.service.d/installed.conf\n" in done
    user("roost", "ls")
    main = user.show("roost.service", "MainPID")
    assert "/home/agent/tools/bin/roostd" in user.machine.run("cat", f"/proc/{main}/cmdline").stdout
    user.systemctl("reload", "roost.service")
    user("/home/agent/tools/bin/roost", "daemon", "uninstall")
    assert user.files() == []
    user("rm", "-r", "/home/agent/tools")


def test_what_is_the_users_own_is_left_and_named(user: User) -> None:
    user("mkdir", "-p", FOLDER)
    user("sh", "-c", f"echo '[Service]' >{FOLDER}/roost.service")
    for verb in ("install", "uninstall"):
        done = user("roost", "daemon", verb, check=False)
        assert done.returncode == 8 and f"{FOLDER}/roost.service" in done.stdout and "(unit_in_the_way)" in done.stdout
    assert user("cat", f"{FOLDER}/roost.service").stdout == "[Service]\n"
    assert user.files() == [f"{FOLDER}/roost.service"]


def test_a_daemon_that_systemd_did_not_start_is_not_put_aside(user: User) -> None:
    user("roost", "ls")
    done = user("roost", "daemon", "install", check=False)
    assert done.returncode == 7 and "roost daemon stop" in done.stdout and "(daemon_running)" in done.stdout
    assert user.files() == []
    user("roost", "daemon", "stop")
    install(user)


def test_who_does_not_linger_is_told(user: User) -> None:
    manager = f"user@{user.runtime.rpartition('/')[2]}.service"
    user.machine.run("loginctl", "disable-linger", "agent")
    user.machine.shows(manager, ActiveState="inactive")
    user.machine.run("systemctl", "start", manager)  # as a log-in does
    assert "loginctl enable-linger" in user("roost", "daemon", "install").stdout
    user.machine.run("loginctl", "enable-linger", "agent")
    assert "loginctl enable-linger" not in user("roost", "daemon", "install").stdout


def test_without_a_log_in_it_says_so(machine: Installed) -> None:
    done = machine.as_agent("env", "-u", "XDG_RUNTIME_DIR", "roost", "daemon", "install", check=False)
    assert done.returncode == 7 and "log in as the user" in done.stdout and "(systemd_unavailable)" in done.stdout


def test_a_stop_that_loses_something_is_told_by_uninstall(user: User) -> None:
    user("sh", "-c", "mkdir -p ~/.config/roost; echo 'checkpoints.batch_timeout = 0.2' >~/.config/roost/roost.toml")
    install(user)
    session = user.call("session.create", engine="shell", workspace="/home/agent")["session"]["id"]
    user.call("turn.send", session=session, input="touch begun; sleep 600")
    user.machine.wait_until("test", "-e", "/home/agent/begun")
    user.machine.run("rm", "/home/agent/begun")
    user.machine.run("pkill", "-STOP", "-u", "agent", "-f", "roost.worker.shell")
    done = user("roost", "daemon", "uninstall", check=False)
    assert done.returncode == 1 and "not every state could be saved" in done.stdout
    assert user.files() == []
