"""``roost daemon``, and how the command finds, starts and greets a daemon."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from helpers.cli import Roost
from helpers.daemon import DEADLINE, Daemon, alive, pids_with, wait_until
from helpers.peer import HELLO, peer


@pytest.fixture
def roost(tmp_path: Path) -> Generator[Roost]:
    """The command on a state directory without a daemon; one that it starts is ended."""
    daemon = Daemon(tmp_path / "state")
    made = Roost(daemon)
    del made.environ["ROOST_NO_START"]
    yield made
    stop(made)
    daemon.close()


@pytest.fixture
def served(commanded: Daemon) -> Generator[Roost]:
    """The command with a daemon that other modules share, for what does not end it."""
    yield Roost(commanded)
    commanded.delete_all()


def stop(roost: Roost) -> None:
    try:
        pid = int(json.loads((roost.daemon.state / "lock").read_text())["pid"])
    except (OSError, ValueError):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid), "the daemon is gone")


def pid_of(roost: Roost) -> int:
    return int(roost.daemon.call("daemon.status")["pid"])


def test_the_first_verb_starts_a_daemon_that_outlives_it_in_a_cleaned_environment(roost: Roost) -> None:
    """The command goes on only when the daemon has said that it is ready. Its environment is a cleaned one."""
    inherited = {
        "ROOST_SESSION": "s-x",
        "ROOST_CHILD": "s-x/c-x",
        "ROOST_DAEMON": "/nowhere",
        "LISTEN_FDS": "1",
        "NOTIFY_SOCKET": "/nowhere",
        "WATCHDOG_USEC": "1",
        "STATE_DIRECTORY": "/nowhere",
        "KEPT": "1",
    }
    assert roost("run", "echo works", **inherited).out == "works\n"
    pid = pid_of(roost)
    assert alive(pid)
    assert os.getsid(pid) == pid, "nothing of this terminal reaches it"
    assert os.readlink(f"/proc/{pid}/fd/0") == os.readlink(f"/proc/{pid}/fd/1") == "/dev/null"
    assert os.readlink(f"/proc/{pid}/fd/2") == str(roost.daemon.state / "roostd.log")
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert (roost.daemon.state / "roostd.log").stat().st_mode & 0o777 == 0o600
    assert roost("ls").status == 0 and pid_of(roost) == pid
    entries = Path(f"/proc/{pid}/environ").read_text().split("\0")
    environ = dict(entry.split("=", 1) for entry in entries if entry)
    assert not {*inherited} - {"KEPT"} & {*environ}
    assert environ["KEPT"] == "1" and environ["ROOST_STATE_DIRECTORY"] == str(roost.daemon.state)


def test_two_at_once_start_one(roost: Roost) -> None:
    """The losers of the lock use the winner's daemon."""
    own = str(roost.daemon.state)
    commands = [
        subprocess.Popen(
            [sys.executable, "-m", "roost.client", "ls", "-q"],
            env=roost.environ | {"TWO_AT_ONCE": own},
            stderr=subprocess.PIPE,
        )
        for _ in range(6)
    ]
    ends = [(command.communicate(timeout=DEADLINE)[1], command.returncode) for command in commands]
    assert ends == [(b"", 0)] * 6
    wait_until(lambda: pids_with(f"TWO_AT_ONCE={own}") == {pid_of(roost)}, "one daemon is left")


@pytest.mark.parametrize(("argv", "environ"), [(["--no-start", "ls"], {}), (["ls"], {"ROOST_NO_START": "1"})])
def test_told_not_to_it_starts_none(roost: Roost, argv: list[str], environ: dict[str, str]) -> None:
    done = roost(*argv, **environ)
    assert (done.status, done.out) == (7, "")
    assert str(roost.daemon.socket) in done.err and "roost daemon start" in done.err
    assert not roost.daemon.state.exists()


def test_inside_a_session_it_talks_to_that_daemon_and_starts_none(served: Roost) -> None:
    session = served.daemon.create(name="inside")
    environ = {"PATH": os.environ["PATH"], "HOME": str(served.daemon.state)}
    turn = served.daemon.run(session, f"{sys.executable} -m roost.client ls -q")
    assert served.daemon.output(turn["id"]) == f"{session}\n"
    lonely = {**environ, "ROOST_DAEMON": str(served.daemon.state / "none")}
    done = subprocess.run([sys.executable, "-m", "roost.client", "ls"], env=lonely, capture_output=True, text=True)
    assert done.returncode == 7 and "none" in done.stderr


def test_a_daemon_that_ends_at_once_is_shown_with_its_status_and_last_words(roost: Roost, tmp_path: Path) -> None:
    """A start that does not succeed fails, with the reason."""
    (tmp_path / "bad.toml").write_text("[daemon]\nnonsense = 1\n")
    done = roost("ls", ROOST_CONFIG=str(tmp_path / "bad.toml"))
    assert done.status == 7
    assert "roostd ended with exit status 2" in done.err and "nonsense" in done.err and "roostd.log" in done.err
    told = json.loads(roost("--json", "ls", ROOST_CONFIG=str(tmp_path / "bad.toml")).err)["error"]
    assert (told["name"], told["data"]["cause"]) == ("daemon_unreachable", "invalid_settings")


def test_a_state_directory_that_cannot_be_made_is_named(roost: Roost, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = roost("--state", str(tmp_path / "file" / "state"), "ls")
    assert done.status == 7
    assert str(tmp_path / "file" / "state") in done.err and done.err.endswith("(state_directory_unusable)\n")


def test_a_socket_path_that_is_too_long_is_named(roost: Roost) -> None:
    done = roost("--socket", "/" + "x" * 200, "ls")
    assert done.status == 7 and done.err.endswith("(socket_path_too_long)\n")


def test_the_lock_tells_where_a_daemon_listens_that_was_started_elsewhere(roost: Roost, tmp_path: Path) -> None:
    assert roost("--socket", str(tmp_path / "other.sock"), "ls").status == 0
    assert roost("daemon", "status", "--json").status == 0
    assert not roost.daemon.socket.exists()
    assert json.loads(roost("daemon", "status", "--json").out)["socket"] == str(tmp_path / "other.sock")


def test_start_stop_and_restart_by_hand_also_where_commands_are_told_to_start_none(roost: Roost) -> None:
    started = roost("daemon", "start", ROOST_NO_START="1")
    assert started.status == 0
    first = pid_of(roost)
    assert started.out == f"roostd runs: pid {first}, socket {roost.daemon.socket}\n"
    assert "`roost run PROMPT`" in started.err and roost("daemon", "start", "-q").err == ""
    assert roost("daemon", "start").out == started.out
    roost.daemon.run(roost.daemon.create(name="dirty"), "export A=1")
    restarted = roost("daemon", "restart", ROOST_NO_START="1")
    assert restarted.status == 0, restarted.err
    assert "`roost ls`" in restarted.err and "daemon start" not in restarted.err
    assert restarted.out.startswith("stopped: 1 sessions, ") and " 0 failed, 0 timed out" in restarted.out
    second = pid_of(roost)
    assert second != first and not alive(first)
    assert roost.daemon.output(roost.daemon.run("dirty", "echo $A")["id"]) == "1\n"
    report = json.loads(roost("daemon", "stop", "--json").out)
    assert report["status"] == 0 and report["sessions"] == 1
    assert not alive(second)
    again = roost("daemon", "stop")
    assert (again.status, again.out) == (0, "") and "no daemon runs" in again.err
    assert again.err.endswith("\n`roost daemon start` starts it again\n")


def test_status_and_stats_start_nothing(roost: Roost, served: Roost) -> None:
    assert roost("daemon", "status").status == 7
    assert roost("daemon", "stats").status == 7
    assert not roost.daemon.state.exists()
    status = served("daemon", "status").out
    assert "daemon    running, version " in status and f"socket    {served.daemon.socket}\n" in status
    assert "storage   ok\n" in status
    assert "commits" in served("daemon", "stats").out
    assert json.loads(served("daemon", "stats", "--json").out)["counters"]["clients"] >= 1


def test_engines_are_listed(served: Roost) -> None:
    lines = served("daemon", "engines").out.splitlines()
    assert lines[0].split() == ["ENGINE", "KIND", "DEFAULT", "COMMAND"]
    assert ["shell", "worker", "yes"] in [line.split()[:3] for line in lines]
    names = [json.loads(line)["name"] for line in served("daemon", "engines", "--json").out.splitlines()]
    assert names == [line.split()[0] for line in lines[1:]]


def test_run_is_roostd_in_the_foreground(roost: Roost) -> None:
    with roost.started("daemon", "run") as daemon:
        wait_until(roost.daemon.serves, "it serves")
        assert pid_of(roost) == daemon.process.pid
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.wait() == 0
    assert roost("daemon", "status", "extra").status == 2


def test_a_daemon_of_another_version_is_noticed_once(roost: Roost, tmp_path: Path) -> None:
    old = {**HELLO, "server": {"name": "roostd", "version": "0.0.1"}}
    with peer(tmp_path / "s", hello=lambda _: old, session_list=lambda _: {"sessions": [], "next": None}):
        done = roost("--socket", str(tmp_path / "s"), "ls", "-q")
    assert done.status == 0
    assert done.err.count("roost daemon restart") == 1 and "0.0.1" in done.err


def test_a_daemon_that_hangs_up_is_7(roost: Roost, tmp_path: Path) -> None:
    with peer(tmp_path / "s") as daemon:
        daemon.answers["session.list"] = lambda _: daemon.hang_up()
        done = roost("--socket", str(tmp_path / "s"), "ls")
    assert done.status == 7 and done.err.endswith("(connection_lost)\n")


def test_a_turn_that_a_stop_cuts_off_is_6(roost: Roost) -> None:
    roost("daemon", "start")
    with roost.started("run", "echo on; sleep 60") as run:
        run.expect("on\n")
        stopped = roost("daemon", "stop")
        assert stopped.status == 0 and "1 turns interrupted" in stopped.out
        assert run.wait() == 6
        assert "interrupted (daemon_shutdown)" in run.err()


def test_it_runs_from_a_virtual_environment_without_a_path(commanded: Daemon) -> None:
    assert shutil.which("roost", path=str(Path(sys.executable).parent))
    environ = {"ROOST_STATE_DIRECTORY": str(commanded.state)}
    command = [str(Path(sys.executable).parent / "roost"), "ls"]
    assert subprocess.run(command, env=environ, capture_output=True).returncode == 0


def test_a_socket_that_may_not_be_used_is_not_taken_for_no_daemon(roost: Roost, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for verb in ("stop", "restart", "start"):
        done = roost("--socket", str(tmp_path / "loop" / "s"), "daemon", verb)
        assert done.status == 7 and "see whose it is" in done.err and "no daemon runs" not in done.err
    told = json.loads(roost("--socket", str(tmp_path / "loop" / "s"), "--json", "doctor").out.splitlines()[0])
    assert (told["name"], told["ok"]) == ("daemon", False)


def test_start_waits_for_the_end_of_one_that_is_stopping(roost: Roost, tmp_path: Path) -> None:
    slow = '[checkpoints]\nbatch_timeout = "60s"\n[sessions]\ncancel_grace = "60s"\n'
    (tmp_path / "slow.toml").write_text(slow)
    roost.environ["ROOST_CONFIG"] = str(tmp_path / "slow.toml")
    roost("run", "--name", "stuck", "true")
    first, child = pid_of(roost), roost.daemon.session("stuck")["pid"]
    os.kill(child, signal.SIGSTOP)
    roost.daemon.send("stuck", "true")
    wait_until(lambda: roost.daemon.session("stuck")["state"] == "busy", "a turn runs")
    os.kill(first, signal.SIGTERM)
    wait_until(lambda: roost.daemon.call("daemon.status")["phase"] == "stopping", "it stops")
    with roost.started("daemon", "start") as start:
        wait_until(lambda: "waiting for its end" in start.err(), "it waits")
        os.kill(child, signal.SIGCONT)
        start.expect("roostd runs: pid ")
        assert start.wait() == 0
    assert not alive(first) and alive(pid_of(roost))


def test_one_that_speaks_another_protocol_is_restarted(roost: Roost) -> None:
    roost("daemon", "start")
    first = pid_of(roost)
    newer = "import sys; from roost.client import cli, frames; frames.PROTOCOL = 2; sys.exit(cli.main())"
    with roost.started("ls", program=newer, terminal=True) as ls:
        assert ls.wait() == 7
        assert ls.rest().count("run `roost daemon restart`") == 1
    with roost.started("daemon", "stop", program=newer, terminal=True) as stop:
        assert stop.wait() == 0
        assert f"stopped: roostd (pid {first}), which speaks another protocol" in stop.rest()
    assert not alive(first)


def test_a_daemon_killed_under_a_prompt_is_told_with_what_was_sent_and_its_socket_is_no_hindrance(roost: Roost) -> None:
    roost("daemon", "start")
    with roost.started("run", "--name", "cut", "echo on; sleep 60") as run:
        run.expect("on\n")
        os.kill(pid_of(roost), signal.SIGKILL)
        assert run.wait() == 7
        assert roost.daemon.socket.is_socket()
        turn = json.loads(roost("show", "cut", "--json").out)["last_turn"]
        assert turn in run.err() and "roost show s-" in run.err()
