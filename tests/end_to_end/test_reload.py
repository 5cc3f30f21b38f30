"""Settings read again by ``roost daemon reload`` and by SIGHUP, while sessions go on; and what systemd hears of it."""

import json
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.cli import Roost
from helpers.daemon import DEADLINE, Daemon, alive, running, wait_until

CONFIG = "[limits]\nqueue = 10\n"
Reloads = Callable[[], list[dict[str, Any]]]


class Systemd:
    """What the daemon tells systemd, in order."""

    def __init__(self, path: Path) -> None:
        self.receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.receiver.bind(str(path))
        self.receiver.settimeout(DEADLINE)

    def hear_until(self, line: str) -> list[str]:
        """All lines up to the one that begins like this."""
        heard: list[str] = []
        while not heard or not heard[-1].startswith(line):
            heard += self.receiver.recv(65536).decode().splitlines()
        return heard

    def forget(self) -> None:
        """What has come so far."""
        while select.select([self.receiver], [], [], 0)[0]:
            self.receiver.recv(65536)


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    made = Systemd(tmp_path_factory.mktemp("systemd") / "notify")
    yield made
    made.receiver.close()


@pytest.fixture(scope="module")
def one_daemon(systemd: Systemd) -> Iterator[Daemon]:
    with running(config=CONFIG, NOTIFY_SOCKET=systemd.receiver.getsockname()) as daemon:
        systemd.hear_until("STATUS=serving")
        yield daemon
        assert daemon.stop() == 0


@pytest.fixture
def daemon(shared: Daemon, systemd: Systemd) -> Iterator[Daemon]:
    yield shared
    rewrite(shared, CONFIG)
    shared.call("daemon.reload")
    systemd.forget()


def rewrite(daemon: Daemon, text: str) -> Path:
    path = Path(daemon.environ["ROOST_CONFIG"])
    path.write_text(text)
    return path


def queue_limit(daemon: Daemon) -> int:
    hello = daemon.call("hello", protocol=1, client={"name": "test"})
    return int(hello["limits"]["queue"])


def first_word(line: str) -> str:
    return line.partition("=")[0]


@pytest.fixture
def reloads(daemon: Daemon) -> Reloads:
    """What the events of the test tell of reloads."""
    before = daemon.events()[-1]["offset"]
    return lambda: [e["data"] for e in daemon.events(after=before) if e["kind"] == "daemon.reloaded"]


def test_the_command_reads_the_settings_again_and_sessions_go_on(
    daemon: Daemon, systemd: Systemd, reloads: Reloads
) -> None:
    roost, session = Roost(daemon), daemon.create()
    daemon.run(session, "export A=kept")
    child = daemon.session(session)["pid"]
    turn = daemon.send(session, "sleep 600")
    wait_until(lambda: daemon.session(session)["turn"] == turn, "it runs")
    rewrite(daemon, '[limits]\nqueue = 7\n[daemon]\nallowed_uids = [77]\n[engines.new]\ncommand = ["new"]\n')
    done = roost("daemon", "reload")
    assert (done.status, done.out) == (0, "changed: engines.new, limits.queue\n")
    assert "daemon.allowed_uids" in done.err and "roost daemon restart" in done.err
    assert "next child; `roost stop S` ends the one it has" in done.err
    heard = systemd.hear_until("STATUS=")
    assert [*map(first_word, heard)] == ["RELOADING", "MONOTONIC_USEC", "READY", "STATUS"]
    assert heard[-1].endswith("; restart for daemon.allowed_uids")
    assert queue_limit(daemon) == 7
    assert "new" in roost("daemon", "engines", "--json").out
    told = {"changed": ["engines.new", "limits.queue"], "restart": ["daemon.allowed_uids"]}
    (recorded,) = reloads()
    author = recorded.pop("author")
    assert (author["kind"], author["client"], recorded) == ("client", "roost", told)
    assert json.loads(roost("daemon", "reload", "--json").out) == {**told, "changed": []}
    again = roost("daemon", "reload")
    assert again.out == "changed: nothing\n" and "roost stop" not in again.err
    assert (daemon.session(session)["pid"], daemon.session(session)["turn"]) == (child, turn)
    assert daemon.call("daemon.status")["pid"] == daemon.pid


def test_a_hangup_reads_the_settings_again(daemon: Daemon, systemd: Systemd, reloads: Reloads) -> None:
    for limit in (7, 8):
        rewrite(daemon, f"[limits]\nqueue = {limit}\n")
        os.kill(daemon.pid, signal.SIGHUP)
        assert [*map(first_word, systemd.hear_until("STATUS="))] == ["RELOADING", "MONOTONIC_USEC", "READY", "STATUS"]
        assert queue_limit(daemon) == limit
    wait_until(lambda: len(reloads()) == 2, "both are recorded")
    assert alive(daemon.pid)


def test_a_child_hears_a_hangup_though_the_daemon_reads_its_settings_by_it(daemon: Daemon) -> None:
    """What is ignored when a program starts stays ignored."""
    turn = daemon.run(daemon.create(), "grep SigIgn: /proc/self/status")
    assert int(daemon.output(turn["id"]).split()[-1], 16) & 1 << (signal.SIGHUP - 1) == 0


def test_what_is_wrong_keeps_the_old_settings_and_is_told_with_its_line(
    daemon: Daemon, systemd: Systemd, reloads: Reloads
) -> None:
    path = rewrite(daemon, "[limits]\nprompt = 5\nqueu = 7\n")
    done = Roost(daemon)("daemon", "reload")
    assert done.status == 2 and done.err.endswith("(invalid_settings)\n")
    assert f"{path}:3: there is no setting limits.queu; did you mean queue?" in done.err
    assert systemd.hear_until("STATUS=")[-1] == f"STATUS=serving {daemon.socket}; not reloaded: {path}:3: " + (
        "there is no setting limits.queu; did you mean queue?"
    )
    os.kill(daemon.pid, signal.SIGHUP)
    heard = systemd.hear_until("STATUS=")
    assert heard[2] == "READY=1" and f"not reloaded: {path}:3:" in heard[-1]
    assert daemon.log.read_text().count(f"{path}:3: there is no setting") == 2
    assert (queue_limit(daemon), reloads()) == (10, [])
    rewrite(daemon, CONFIG)
    assert Roost(daemon)("daemon", "reload").status == 0
    assert systemd.hear_until("STATUS=")[-1] == f"STATUS=serving {daemon.socket}", "it is forgotten"


PROGRAM = """
[engines.program]
kind = 'command'
command = ['sh', '-c', 'echo {word} $EXTRA $KEY; ulimit -n; :']
env = {{ EXTRA = '{word}-too' }}
env_from = {{ KEY = 'file:{secret}' }}
nofile = {nofile}
"""


def test_each_program_of_a_command_session_has_what_holds_then(daemon: Daemon, tmp_path: Path) -> None:
    """Its session lives on: nothing of the settings, the secrets and the limits is that of its first turn."""
    secret = tmp_path / "secret"

    def has(word: str, nofile: int) -> None:
        rewrite(daemon, CONFIG + PROGRAM.format(word=word, secret=secret, nofile=nofile))
        daemon.call("daemon.reload")

    def said() -> list[str]:
        return daemon.output(daemon.run(session, "say it")["id"]).split()

    has("old", 100)
    secret.write_text("one")
    session = daemon.create("program", after={"failed": "continue"})
    assert said() == ["old", "old-too", "one", "100"]
    secret.write_text("two")
    assert said() == ["old", "old-too", "two", "100"], "also without a reload"
    has("new", 200)
    assert said() == ["new", "new-too", "two", "200"]
    daemon.call("session.update", session=session, limits={"nofile": 50})
    assert said()[-1] == "50"
    secret.unlink()
    failed = daemon.run(session, "say it")
    assert (failed["state"], failed["reason"]) == ("failed", "secret_missing")
    secret.write_text("three")
    assert said()[2] == "three"
    rewrite(daemon, CONFIG)
    daemon.call("daemon.reload")
    assert daemon.run(session, "say it")["reason"] == "engine_not_found"


def test_the_log_level_changes_at_once(daemon: Daemon) -> None:
    def logged() -> int:
        return daemon.log.read_text().count("INFO roost.daemon.app: settings read again")

    before = logged()
    rewrite(daemon, "[daemon]\nlog_level = 'error'\n")
    assert Roost(daemon)("daemon", "reload").out == "changed: daemon.log_level, limits.queue\n"
    assert logged() == before
    rewrite(daemon, CONFIG)
    assert Roost(daemon)("daemon", "reload").status == 0
    assert logged() == before + 1


def test_the_environment_is_that_of_the_start(daemon: Daemon) -> None:
    """A variable of the command's, or one that came later, changes nothing."""
    assert Roost(daemon)("daemon", "reload", ROOST_LIMITS_QUEUE="3").out == "changed: nothing\n"
    assert queue_limit(daemon) == 10


def test_without_a_daemon_none_is_started(tmp_path: Path) -> None:
    roost = Roost(Daemon(tmp_path / "state"))
    assert roost("daemon", "reload").status == 7
    assert not (tmp_path / "state").exists()
