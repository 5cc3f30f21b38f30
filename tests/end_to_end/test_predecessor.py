"""After a dead predecessor: what is its own is ended before anything starts, and nobody else is touched."""

import os
import pty
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from helpers.daemon import DEADLINE, Daemon, alive, pids_with, wait_until
from roost.client.connection import Connection
from roost.protocol.errors import DaemonUnreachable


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon on another state directory, not started."""
    made = Daemon(tmp_path / "other")
    yield made
    made.close()


def at(daemon: Daemon, socket: Path) -> Daemon:
    """From its next start on it listens there."""
    daemon.environ["ROOST_SOCKET"] = str(socket)
    daemon.socket = socket
    return daemon


def started(daemon: Daemon) -> set[int]:
    """What the last start ended."""
    events = daemon.call("events.read", all=True, kinds=["daemon.started"], limit=1000)["events"]
    return set(events[-1]["data"]["ended"])


def again(daemon: Daemon) -> Daemon:
    """kill -9, and the next start."""
    daemon.kill()
    return daemon.start()


def slept(daemon: Daemon, session: str, command: str) -> int:
    """The pid of what a command has left in the background."""
    done = daemon.run(session, f"{command} & echo $!")
    assert done["state"] == "completed"
    items = daemon.call("turn.get", turn=done["id"])["items"]
    return int(next(item["content"] for item in items if item["kind"] == "command"))


def test_what_left_its_session_is_ended_before_anything_starts(daemon: Daemon) -> None:
    session = daemon.create()
    hidden = slept(daemon, session, "exec setsid sleep 600")
    assert alive(hidden)
    again(daemon)
    assert not alive(hidden) and hidden in started(daemon)
    assert daemon.session(session)["state"] == "idle"
    assert daemon.call("daemon.status")["sessions"] == 0


def test_a_predecessor_on_another_socket_is_cleared_up_after(roostd: Daemon, tmp_path: Path) -> None:
    session = at(roostd, tmp_path / "old.sock").start().create()
    hidden = slept(roostd, session, "exec setsid sleep 600")
    roostd.kill()
    at(roostd, tmp_path / "new.sock").start()
    assert not alive(hidden)


def refused(daemon: Daemon, reason: str) -> None:
    """It is started, and exits with status 2."""
    command = [sys.executable, "-m", "roost.daemon"]
    done = subprocess.run(command, env=daemon.environ, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 2 and reason in done.stderr, done.stderr


def test_a_start_that_fails_between_two_others_hides_nothing(roostd: Daemon, tmp_path: Path) -> None:
    session = at(roostd, tmp_path / "old.sock").start().create()
    hidden = slept(roostd, session, "exec setsid sleep 600")
    roostd.kill()
    (tmp_path / "open").mkdir(mode=0o777)
    (tmp_path / "open").chmod(0o777)
    refused(at(roostd, tmp_path / "open" / "roost.sock"), "is open to others")
    assert alive(hidden)
    at(roostd, tmp_path / "new.sock").start()
    assert not alive(hidden) and hidden in started(roostd)


def backup(original: Daemon, copy: Daemon) -> None:
    """As docs/operations.md says it."""
    copy.state.mkdir(mode=0o700)
    with closing(sqlite3.connect(original.state / "roost.db")) as source:
        with closing(sqlite3.connect(copy.state / "roost.db")) as target:
            source.backup(target)


def copied(original: Daemon, copy: Daemon) -> None:
    """All of the directory, lock and socket included; the socket is not to be copied, and not needed."""
    shutil.copytree(original.state, copy.state, ignore=shutil.ignore_patterns("run"))
    path = copy.socket
    refused(at(copy, original.socket), "socket_in_use")
    at(copy, path)


@pytest.mark.parametrize("made", [backup, copied])
def test_children_of_a_living_daemon_outlive_the_start_of_another_on_a_copy(
    shared: Daemon, other: Daemon, made: Callable[[Daemon, Daemon], None]
) -> None:
    session = shared.create()
    hidden = slept(shared, session, "exec setsid sleep 600")
    turn = shared.send(session, "sleep 600")

    def runs() -> bool:
        return bool(shared.call("turn.get", turn=turn)["turn"]["state"] == "running")

    wait_until(runs, "the turn runs")
    worker = shared.session(session)["pid"]
    made(shared, other)
    other.start()
    assert started(other) == set() and alive(hidden) and alive(worker)
    again(other)
    assert alive(hidden) and alive(worker) and runs()


def test_children_of_a_daemon_that_was_started_again_since_the_copy_was_made_are_left_alone(
    daemon: Daemon, other: Daemon
) -> None:
    session = daemon.create()
    daemon.run(session, "true")
    backup(daemon, other)
    again(daemon)
    hidden = slept(daemon, session, "exec setsid sleep 600")
    other.start()
    assert started(other) == set() and alive(hidden) and daemon.session(session)["state"] == "ready"


def test_another_daemons_children_are_left_alone(daemon: Daemon, shared: Daemon) -> None:
    theirs = shared.create()
    hidden = slept(shared, theirs, "exec setsid sleep 600")
    session = daemon.create()
    daemon.run(session, "true")
    again(daemon)
    assert alive(hidden) and shared.session(theirs)["state"] == "ready"
    assert hidden in pids_with(f"ROOST_DAEMON={shared.socket}")


def test_a_daemon_that_an_agent_started_outlives_the_session_and_its_daemon(daemon: Daemon, other: Daemon) -> None:
    """It belongs to nobody, and so do its sessions."""
    session = daemon.create(env={**os.environ, "ROOST_STATE_DIRECTORY": str(other.state)})
    command = f"{shlex.quote(sys.executable)} -m roost.client --state {shlex.quote(str(other.state))} daemon start"
    assert daemon.run(session, f"env -u ROOST_DAEMON {command}")["state"] == "completed"
    with Connection(str(other.socket)) as client:
        inner = client.call("daemon.status", {})["pid"]
        theirs = other.create()
        hidden = slept(other, theirs, "exec setsid sleep 600")

        daemon.call("session.stop", session=session)
        assert alive(inner) and alive(hidden), "by the end of its session"
        again(daemon)
        assert alive(inner) and alive(hidden), "by the start after a kill -9"
        assert daemon.stop() == 0
        assert alive(inner) and alive(hidden), "by the stop of the daemon"
        assert other.session(theirs)["state"] == "ready"
        client.call("daemon.shutdown", {})
    wait_until(lambda: not alive(inner) and not alive(hidden), "it stops as any other")


@pytest.mark.parametrize("command", ["roost.daemon", "roost.client daemon run"])
def test_a_daemon_that_an_agent_started_by_hand_is_left_alone(daemon: Daemon, other: Daemon, command: str) -> None:
    """No cleaned environment was made for it, so it drops the marks itself."""
    session = daemon.create(env={**os.environ, "ROOST_STATE_DIRECTORY": str(other.state)})
    started = f"setsid {shlex.quote(sys.executable)} -m {command} </dev/null >/dev/null 2>&1 &"
    assert daemon.run(session, started)["state"] == "completed"
    inner = wait_until(lambda: pid_of(other), "it serves")
    try:
        theirs = other.create()
        hidden = slept(other, theirs, "exec setsid sleep 600")
        again(daemon)
        assert alive(inner) and alive(hidden), "by the start after a kill -9"
        assert daemon.stop() == 0
        assert alive(inner) and other.session(theirs)["state"] == "ready", "by the stop of the daemon"
    finally:
        os.kill(inner, signal.SIGKILL)


def pid_of(daemon: Daemon) -> int:
    """0: it does not serve yet."""
    try:
        return int(daemon.call("daemon.status")["pid"])
    except DaemonUnreachable:
        return 0


def test_somebodys_log_in_shell_is_left_alone(daemon: Daemon) -> None:
    """A shell on a terminal that was started from within a session, and what somebody runs in it."""
    session = daemon.create()
    daemon.run(session, "true")
    pid, terminal = pty.fork()
    if not pid:
        marks = {"ROOST_SESSION": session, "ROOST_DAEMON": str(daemon.socket), "PS1": "", "PATH": os.environ["PATH"]}
        os.execve("/bin/sh", ["-sh"], marks)
    try:
        os.write(terminal, b"sleep 600 & echo pid:$!:\n")
        said = b""
        while not (told := re.search(rb"pid:(\d+):", said)):
            said += os.read(terminal, 1000)
        running = int(told[1])
        again(daemon)
        assert alive(pid) and alive(running)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.close(terminal)
        os.waitpid(pid, 0)


def test_what_hides_from_everybody_is_ended_when_the_daemon_stops(daemon: Daemon) -> None:
    """Another environment and another session: it comes to the daemon when its parent dies."""
    session = daemon.create()
    hidden = slept(daemon, session, "exec env -i setsid sleep 600")
    daemon.call("session.stop", session=session, force=True)
    daemon.stop()
    assert not alive(hidden)


def test_what_an_entrypoint_has_started_outlives_the_daemon_that_it_became(roostd: Daemon, tmp_path: Path) -> None:
    helper = tmp_path / "helper"
    roostd.start("sh", "-c", f'sleep 600 & echo $! >{shlex.quote(str(helper))}; exec "$@"', "sh")
    pid = int(helper.read_text())
    try:
        roostd.run(roostd.create(), "true")
        assert roostd.stop() == 0 and alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)
