"""No orphan: 200 sessions with a plain, a setsid and a double-forked grandchild each, ended in each of the three ways.

``ROUNDS=20`` repeats it, as `make soak` does.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.cli import Roost
from helpers.daemon import Daemon, pids_whose, pids_with, wait_until

SESSIONS = 200
SETTINGS = """
[limits]
max_live = 0
[sessions]
stop_grace = "20s"
term_grace = "5s"
[engines.program]
kind = "command"
command = ["sh", "-c"]
"""
ROUNDS = int(os.environ.get("ROUNDS", "1"))
SHELL = 8 if ROUNDS == 1 else 2
"""A worker takes longer to start than all else."""


@pytest.fixture
def roost(tmp_path: Path) -> Iterator[Roost]:
    made = Roost(Daemon(tmp_path / "s", SETTINGS))
    yield made
    made.daemon.close()


def brood(seconds: int, last: str) -> str:
    """A command that leaves the three behind; they are told apart from all else by how long they sleep."""
    sleep = f"sleep {seconds}"
    return f"{sleep} & setsid {sleep} & (setsid sh -c '{sleep} & exit 0' &) ; echo >>hatched; {last}"


def sleepers(seconds: int) -> set[int]:
    """Those of all that the kernel has, by what they run."""
    return pids_whose("cmdline", (b"sleep\0%d\0" % seconds).__eq__)


class Broods:
    """200 sessions: one in SHELL a shell, whose command still runs in every other; all others a program that runs."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.mark = f"ROOST_DAEMON={daemon.socket}"
        self.seconds = 10_000_000 + os.getpid() % 1_000_000
        with daemon.connect() as client:
            asked = [client.send("session.create", self._params(number)) for number in range(SESSIONS)]
            self.sessions: list[str] = [client.result(one)["session"]["id"] for one in asked]

    def _params(self, number: int) -> dict[str, object]:
        workspace, path = str(self.daemon.workspace), os.environ["PATH"]
        engine = "program" if number % SHELL else "shell"
        return {"engine": engine, "name": f"n{number}", "workspace": workspace, "env": {"PATH": path}}

    def hatch(self) -> None:
        hatched = self.daemon.workspace / "hatched"
        hatched.write_text("")
        with self.daemon.connect() as client:
            for number, session in enumerate(self.sessions):
                command = brood(self.seconds, "sleep 9e9" if number % (2 * SHELL) else "true")
                client.send("turn.send", {"session": session, "input": command})
            client.call("daemon.status", {})
        # A look at one file costs a thousandth of one at all processes.
        wait_until(lambda: hatched.stat().st_size == SESSIONS, "200 commands have forked", 120)
        wait_until(lambda: len(sleepers(self.seconds)) == 3 * SESSIONS, "600 grandchildren", 120)
        assert len(pids_with(self.mark)) >= 4 * SESSIONS

    def gone(self) -> bool:
        return not sleepers(self.seconds) and not pids_with(self.mark)

    def release(self) -> None:
        """Let the queues go on that were held because their turn was cut off."""
        with self.daemon.connect() as client:
            for asked in [client.send("session.release", {"session": session}) for session in self.sessions]:
                client.result(asked)


@pytest.mark.timeout(180 * ROUNDS)
def test_no_process_of_two_hundred_sessions_is_left(roost: Roost) -> None:
    daemon = roost.daemon.start()
    broods = Broods(daemon)
    for _ in range(ROUNDS):
        broods.hatch()
        assert roost("stop", "--all").status == 0
        assert broods.gone(), "by roost stop --all"

        broods.hatch()
        assert daemon.stop(deadline=90) == 0
        assert broods.gone(), "by SIGTERM"
        daemon.start()

        broods.release()
        broods.hatch()
        daemon.kill()
        daemon.start()
        assert broods.gone(), "by kill -9, and before the next start serves"
        broods.release()
