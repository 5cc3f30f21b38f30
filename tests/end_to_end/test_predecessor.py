"""After a dead daemon: what is its own is ended before anything starts, and nobody else is touched."""

import os
import pty
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from helpers.daemon import DEADLINE, Daemon, alive, pids_with, wait_until
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


def slept(daemon: Daemon, session: str, command: str) -> int:
    """The pid of what a command has left in the background."""
    done = daemon.run(session, f"{command} & echo $!")
    assert done["state"] == "completed"
    items = daemon.call("turn.get", turn=done["id"])["items"]
    return int(next(item["content"] for item in items if item["kind"] == "command"))


def refused(daemon: Daemon, *reasons: str, status: int = 2) -> None:
    """It is started, and exits with this status."""
    command = [sys.executable, "-m", "roost.daemon"]
    done = subprocess.run(command, env=daemon.environ, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == status and all(reason in done.stderr for reason in reasons), done.stderr
    assert "Traceback" not in done.stderr


def test_a_predecessor_on_another_socket_is_cleared_up_after_though_a_start_failed_since(
    roostd: Daemon, tmp_path: Path
) -> None:
    session = at(roostd, tmp_path / "old.sock").start().create()
    hidden = slept(roostd, session, "exec setsid sleep 600")
    roostd.kill()
    (tmp_path / "open").mkdir(mode=0o777)
    (tmp_path / "open").chmod(0o777)
    refused(at(roostd, tmp_path / "open" / "roost.sock"), "state_directory_unusable", "is open to others")
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
    """All of the directory, lock and socket included; the socket is not copied, and the original's is taken."""
    shutil.copytree(original.state, copy.state, ignore=shutil.ignore_patterns("run"))
    path = copy.socket
    refused(at(copy, original.socket), "daemon_running", status=11)
    at(copy, path)


@pytest.mark.parametrize("made", [backup, copied])
def test_a_copy_of_a_directory_that_a_daemon_serves_is_refused(
    roostd: Daemon, other: Daemon, made: Callable[[Daemon, Daemon], None]
) -> None:
    """The original goes on; when it has ended, the copy is served."""
    session = roostd.start().create()
    hidden = slept(roostd, session, "exec setsid sleep 600")
    worker = roostd.session(session)["pid"]
    made(roostd, other)
    refused(other, "daemon_running", f"roostd (pid {roostd.pid}) serves at {roostd.socket}; stop that one", status=11)
    assert not other.socket.exists() and alive(hidden) and alive(worker)
    assert roostd.stop() == 0
    other.start()
    assert started(other) == set() and other.session(session)["state"] == "idle"


PYTHON = shlex.quote(sys.executable)
STARTS = {
    "daemon start": f"env -u ROOST_DAEMON {PYTHON} -m roost.client daemon start",
    # No cleaned environment is made for these, so they drop the marks themselves.
    "roostd": f"setsid {PYTHON} -m roost.daemon </dev/null >/dev/null 2>&1 &",
    "daemon run": f"setsid {PYTHON} -m roost.client daemon run </dev/null >/dev/null 2>&1 &",
}
"""How an agent may start a daemon."""


@dataclass
class Life:
    """A daemon that is killed, started again and stopped, amid what might be taken for its own.

    Attributes:
        pids: who was there; ``pidfds``: the same.
        sessions: those of other daemons.
        lived: who lived after each step, the sessions of others that were ready included.
        marked: what bore the mark of the neighbour after the start.
        ended: what the start said that it ended.
        state: that of its session after the start, and how many sessions lived.
        stopped: its exit status.
    """

    pids: dict[str, int] = field(default_factory=dict[str, int])
    pidfds: list[int] = field(default_factory=list[int])
    sessions: dict[str, tuple[Daemon, str]] = field(default_factory=dict[str, tuple[Daemon, str]])
    lived: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    marked: set[int] = field(default_factory=set[int])
    ended: dict[str, set[int]] = field(default_factory=dict[str, set[int]])
    state: tuple[str, int] = ("", 0)
    stopped: int | None = None

    def meet(self, name: str, pid: int) -> None:
        self.pids[name] = pid
        self.pidfds.append(os.pidfd_open(pid))

    def look(self, step: str) -> None:
        self.lived[step] = {name for name, pid in self.pids.items() if alive(pid)}
        for name, (daemon, session) in self.sessions.items():
            if daemon.session(session)["state"] == "ready":
                self.lived[step].add(name)

    def kill(self) -> None:
        for pidfd in self.pidfds:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)

    def befriend(self, name: str, other: Daemon) -> None:
        """A session of another daemon, and what left it."""
        session = other.create()
        self.meet(f"sleep of {name}", slept(other, session, "exec setsid sleep 600"))
        self.sessions[f"session of {name}"] = other, session


@pytest.fixture(scope="module")
def life(one_daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    folder, seen = tmp_path_factory.mktemp("life"), Life()
    with ExitStack() as stack:
        daemon, copy = Daemon(folder / "s"), Daemon(folder / "copy")
        stack.callback(seen.kill)
        stack.callback(copy.close)
        stack.callback(daemon.close)
        own = daemon.start().create()
        seen.meet("left its session", slept(daemon, own, "exec setsid sleep 600"))
        for name, pid in stack.enter_context(logged_in(daemon, own)).items():
            seen.meet(name, pid)
        seen.befriend("neighbour", one_daemon)
        starters = {name: started_inside(daemon, Daemon(folder / name), name, seen, stack) for name in STARTS}
        backup(daemon, copy)

        daemon.call("session.stop", session=starters["daemon start"])
        seen.look("end of the session")

        helper = folder / "helper"
        daemon.kill()
        daemon.start("sh", "-c", f'sleep 600 & echo $! >{shlex.quote(str(helper))}; exec "$@"', "sh")
        seen.ended["start"] = started(daemon)
        seen.state = daemon.session(own)["state"], daemon.call("daemon.status")["sessions"]
        seen.look("start")
        seen.marked = pids_with(f"ROOST_DAEMON={one_daemon.socket}")

        # The copy knows this session.
        seen.meet("sleep of original", slept(daemon, own, "exec setsid sleep 600"))
        seen.sessions["session of original"] = daemon, own
        refused(copy, "daemon_running", f"a roostd serves at {daemon.socket}; stop that one first", status=11)
        seen.look("start of a copy")
        del seen.sessions["session of original"]

        seen.meet("helper of the entrypoint", int(helper.read_text()))
        seen.meet("hides", slept(daemon, own, "exec env -i setsid sleep 600"))
        daemon.call("session.stop", session=own, force=True)
        seen.look("before the stop")
        seen.stopped = daemon.stop()
        seen.look("stop")
        one_daemon.call("session.delete", session=seen.sessions["session of neighbour"][1], force=True)
        yield seen


@contextmanager
def logged_in(daemon: Daemon, session: str) -> Generator[dict[str, int]]:
    """A shell on a terminal that was started from within a session, and what somebody runs in it."""
    pid, terminal = pty.fork()
    if not pid:
        marks = {"ROOST_SESSION": session, "ROOST_DAEMON": str(daemon.socket), "PS1": "", "PATH": os.environ["PATH"]}
        os.execve("/bin/sh", ["-sh"], marks)
    try:
        os.write(terminal, b"sleep 600 & echo pid:$!:\n")
        said = b""
        while not (told := re.search(rb"pid:(\d+):", said)):
            said += os.read(terminal, 1000)
        yield {"log-in shell": pid, "sleep of the shell": int(told[1])}
    finally:
        os.kill(pid, signal.SIGKILL)
        os.close(terminal)
        os.waitpid(pid, 0)


def started_inside(daemon: Daemon, other: Daemon, name: str, seen: Life, stack: ExitStack) -> str:
    """The session in which an agent started the other daemon."""
    stack.callback(other.close)
    session = daemon.create(env={**os.environ, "ROOST_STATE_DIRECTORY": str(other.state)})
    assert daemon.run(session, STARTS[name])["state"] == "completed"
    seen.meet(name, wait_until(lambda: pid_of(other), "it serves"))
    seen.befriend(name, other)
    return session


def pid_of(daemon: Daemon) -> int:
    """0: it does not serve yet."""
    try:
        return int(daemon.call("daemon.status")["pid"])
    except DaemonUnreachable:
        return 0


def test_what_left_its_session_is_ended_before_anything_starts(life: Life) -> None:
    assert "left its session" in life.lived["end of the session"]
    assert "left its session" not in life.lived["start"] and life.pids["left its session"] in life.ended["start"]
    assert life.state == ("idle", 0)


def test_a_copy_is_refused_also_when_its_original_was_started_again_since(life: Life) -> None:
    assert {"sleep of original", "session of original"} <= life.lived["start of a copy"]


def test_another_daemons_children_are_left_alone(life: Life) -> None:
    assert {"sleep of neighbour", "session of neighbour"} <= life.lived["start"]
    assert life.pids["sleep of neighbour"] in life.marked


@pytest.mark.parametrize("command", STARTS)
def test_a_daemon_that_an_agent_started_outlives_the_session_and_its_daemon(life: Life, command: str) -> None:
    """It belongs to nobody, and so do its sessions."""
    for step in ("end of the session", "start", "stop"):
        assert {command, f"sleep of {command}", f"session of {command}"} <= life.lived[step], step
    assert life.stopped == 0


def test_a_daemon_that_an_agent_started_stops_as_any_other(life: Life) -> None:
    daemon, _ = life.sessions["session of daemon start"]
    daemon.call("daemon.shutdown")
    names = "daemon start", "sleep of daemon start"
    wait_until(lambda: not any(alive(life.pids[name]) for name in names), "it stops")


def test_somebodys_log_in_shell_is_left_alone(life: Life) -> None:
    assert {"log-in shell", "sleep of the shell"} <= life.lived["start"]


def test_what_hides_from_everybody_is_ended_when_the_daemon_stops(life: Life) -> None:
    """Another environment and another session: it comes to the daemon when its parent dies."""
    assert "hides" in life.lived["before the stop"] and "hides" not in life.lived["stop"]


def test_what_an_entrypoint_has_started_outlives_the_daemon_that_it_became(life: Life) -> None:
    assert "helper of the entrypoint" in life.lived["stop"]
