"""Whatever a child does, a disk does, or clients do at the same moment: it harms its own turn, and nothing is stuck."""

import os
import random
import shutil
import signal
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from helpers.daemon import Daemon, pids_with, running, wait_until
from helpers.engines import engines
from helpers.ledger import Ledger, problems
from helpers.sabotaged import command
from roost.daemon.core.said import Append, Start
from roost.daemon.store import items
from roost.protocol.errors import RoostError
from roost.protocol.model import ItemKind

QUICK = (
    "[sessions]\ncancel_grace = '200ms'\nterm_grace = '200ms'\nstop_grace = '300ms'\nrestart_intensity = 50\n"
    "[checkpoints]\nbatch_timeout = '3s'\n"
)


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the settings name."""
    return tmp_path_factory.mktemp("hostile") / "secret"


@pytest.fixture
def fifo(secret: Path) -> Iterator[Path]:
    """A named pipe in place of the file."""
    os.mkfifo(secret)
    yield secret
    secret.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def one_daemon(secret: Path) -> Iterator[Daemon]:
    source = f"[engines.secret]\ncommand = ['cat']\n[engines.secret.env_from]\nKEY = 'file:{secret}'\n"
    with running(config=engines(QUICK + source)) as daemon:
        yield daemon
        assert daemon.stop() == 0 and "Traceback" not in daemon.log.read_text()


@pytest.fixture
def odd(shared: Daemon) -> Daemon:
    """Whoever stops it starts it again."""
    return shared


def begun(daemon: Daemon, prompt: str) -> tuple[str, str]:
    """A session and its turn, which runs."""
    session = daemon.create("odd")
    turn = daemon.send(session, prompt)
    wait_until(lambda: daemon.session(session)["turn"] == turn, "it runs")
    return session, turn


def test_whatever_a_worker_says_its_session_goes_on(odd: Daemon) -> None:
    """Events that would be too large, numbers that are none, errors that are not its to give, pipes that it closes."""
    sound = odd.create("odd")
    odd.run(sound, "say hello")
    pid = odd.session(sound)["pid"]
    for prompt, name in (
        ("data 2000000", "worker_violation"),
        ("data 120000 400000", "completed"),
        ("shout 2000000", "turn_failed"),
        (f"code {2**64 - 1}", "worker_violation"),
        ("error worker_exited", "worker_violation"),
        ("error storage_failed", "worker_violation"),
        ("error not_supported", "not_supported"),
        ("hush", "worker_violation"),
    ):
        session = odd.create("odd")
        turn = odd.run(session, prompt)
        assert (turn["problem"] or {"name": turn["state"]})["name"] == name, prompt
        assert odd.run(session, "say well again")["state"] == "completed", prompt
    assert odd.session(sound)["pid"] == pid
    assert "Traceback" not in odd.log.read_text()


def test_a_worker_that_refuses_to_start_is_not_started_for_ever(odd: Daemon) -> None:
    """It refuses with an error that means something to the queue runner."""
    session = odd.create("odd-refuses")
    turn = odd.run(session, "hello")
    assert (turn["state"], turn["reason"]) == ("failed", "worker_violation")
    assert len([e for e in odd.events(session) if e["kind"] == "session.state_changed"]) == 2


def test_what_cannot_be_settled_in_one_session_does_not_keep_the_daemon_from_starting(tmp_path: Path) -> None:
    """An item whose end is too large for an event, as an older daemon may have left it."""
    state = tmp_path / "s"
    state.mkdir(mode=0o700)
    ledger = Ledger(state / "roost.db")
    for name, size in (("stuck", 900_000), ("sound", 10)):
        _, turn = ledger.running("what ran", name=name)
        ledger.do(items.record, turn.id, [Start(f"i-{name}", ItemKind.status, "", {"x": "x" * size})])
        ledger.do(items.record, turn.id, [Append(f"i-{name}", "y" * 260_000)])
    ledger.close()
    daemon = Daemon(state, engines())
    try:
        daemon.start()
        assert daemon.session("sound")["last_turn_state"] == "interrupted"
        assert "cannot be settled" in daemon.log.read_text()
        assert daemon.run(daemon.create("odd"), "say hello")["state"] == "completed"
    finally:
        daemon.close()


def test_a_stop_while_a_child_starts_loses_nothing(odd: Daemon, fifo: Path) -> None:
    """Nothing can be lost of what has not begun: its turn stays queued, and nobody waits for the child.

    Nor for a secret that does not answer, which others do not notice: a named pipe in place of a file would block
    whoever reads it on the loop.
    """
    session, secret = odd.create("odd-mute"), odd.create("secret")
    turns = odd.send(session, "say later"), odd.send(secret, "hello")
    wait_until(lambda: odd.session(session)["state"] == "starting", "it starts")
    assert odd.run(odd.create("odd"), "say hello")["state"] == "completed"
    assert odd.call("turn.get", turn=turns[1])["turn"]["ended_at"] is None
    assert odd.stop() == 0
    assert pids_with(f"ROOST_SESSION={session}") == set()
    fifo.unlink()
    odd.start()
    assert odd.call("turn.get", turn=turns[0])["turn"]["state"] == "queued"
    assert odd.wait(turns[1])["reason"] == "secret_missing", "it is looked for again"


def test_a_stop_when_the_database_has_vanished_is_soon_over_and_says_what_is_lost(tmp_path: Path) -> None:
    """Nothing can be written any more, and nothing waits for that."""
    with running(tmp_path / "s", engines(QUICK)) as daemon:
        (busy, _), idle = begun(daemon, "wait"), daemon.create("odd")
        daemon.run(idle, "say hello")
        (daemon.state / "roost.db").unlink()
        wait_until(lambda: not daemon.call("daemon.status")["storage"]["ok"], "it is noticed")
        assert daemon.stop(deadline=10) == 9
        lines = [line for line in daemon.log.read_text().splitlines() if "stopped (SIGTERM)" in line]
        assert all(session in lines[0] for session in (busy, idle)) and "2 failed" in lines[0]
        assert pids_with(f"ROOST_DAEMON={daemon.socket}") == set()


def test_a_full_disk_is_an_error_at_once_and_the_stop_is_bounded(tmp_path: Path, used_directory: Path) -> None:
    """Design 6.10: nothing half-done stays, the daemon goes on, and its status says so.

    What was cut off must be settled before anything is served; where nothing was, a start serves and says so. A disk
    may have room soon: systemd is told to try again.
    """
    shutil.copytree(used_directory, tmp_path / "s")
    switch = tmp_path / "full"
    switch.touch()
    daemon = Daemon(tmp_path / "s", engines(QUICK))
    try:
        daemon.start(*command(tmp_path))
        assert not daemon.call("daemon.status")["storage"]["ok"], "full at the start, and nothing to settle"
        switch.unlink()
        (busy, turn), idle = begun(daemon, "wait"), daemon.create("odd")
        assert daemon.call("daemon.status")["storage"]["ok"]
        switch.touch()
        for method, params in (
            ("session.start", {"session": idle}),
            ("turn.send", {"session": idle, "input": "x" * 100_000}),
            ("session.stop", {"session": busy}),
            ("session.create", {"workspace": "/", "env": {"X": "x" * 100_000}}),
        ):
            with pytest.raises(RoostError) as caught:
                daemon.call(method, **params)
            assert caught.value.wire_name == "storage_failed", method
        assert not daemon.call("daemon.status")["storage"]["ok"]
        assert daemon.session(idle)["state"] == "idle" and daemon.session(busy)["turn"] == turn
        assert daemon.stop(deadline=25) == 9
        assert pids_with(f"ROOST_DAEMON={daemon.socket}") == set()
        with pytest.raises(AssertionError, match="roostd exited with 1:"):
            daemon.start(*command(tmp_path))
        log = daemon.log.read_text()
        assert "roostd: storage_failed: " in log.splitlines()[-1] and "Traceback" not in log
        switch.unlink()
        daemon.start()
        assert daemon.wait(turn)["reason"] == "daemon_restart"
        assert daemon.run(idle, "say room")["state"] == "completed"
    finally:
        daemon.close()


def test_many_who_stop_and_ask_at_once_are_all_answered(odd: Daemon) -> None:
    """Whoever comes too late gets what is saved, not that the child has ended."""
    verbs = ["session.stop"] * 4 + ["session.state"] * 4
    for _ in range(5):
        session = odd.create("odd")
        odd.run(session, "say hello")
        with ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(odd.call, verb, session=session) for verb in verbs]
        assert [call.result()["state"] for call in calls[4:]] == [["say hello"]] * 4
        assert all(call.result()["session"]["state"] == "idle" for call in calls[:4])
        assert odd.session(session)["state"] == "idle"


def test_a_storm_leaves_nothing_stuck(tmp_path: Path) -> None:
    """Verbs of every sort at once, children killed and stopped, restarts in between: in the end every session works."""
    config = QUICK.replace("50\n", "50\nidle_unload = '100ms'\nidle_sweep = '50ms'\n")
    daemon = Daemon(tmp_path / "s", engines(config + "[limits]\nmax_live = 4\nmax_running_turns = 3\n"))
    try:
        daemon.start()
        storm = Storm(daemon, [daemon.create(kind, name=f"n{n}") for n, kind in enumerate(Storm.KINDS)])
        storm.blow()
        for session in storm.sessions:
            daemon.call("session.unarchive", session=session)
            daemon.call("session.stop", session=session, force=True)
            for turn in daemon.call("turn.list", session=session, state="queued")["turns"]:
                daemon.call("turn.cancel", turn=turn["id"])
            assert daemon.run(session, "say the end")["state"] in ("completed", "failed"), session
            seqs = [event["seq"] for event in daemon.events(session)]
            assert seqs == list(range(1, len(seqs) + 1))
        assert daemon.call("daemon.stats")["in_flight"] == {}
        assert daemon.stop() == 0 and "Traceback" not in daemon.log.read_text()
        assert list(problems(sqlite3.connect(daemon.state / "roost.db"))) == []
    finally:
        daemon.close()


class Storm:
    """Clients and an assassin, for a while."""

    KINDS = ("odd", "odd", "odd", "odd-lazy", "sh", "odd-exit")
    PROMPTS = ("say hi", "save", "wait", "die 3", "kill", "fail", "deaf", "count 50", "rubbish", "echo hi; sleep 0.05")
    VERBS = (*["send"] * 6, "cancel", "cancel", "release", "start", "stop", "force", "state", "clear", "archive")
    ROUNDS = 100

    def __init__(self, daemon: Daemon, sessions: list[str]) -> None:
        self.daemon = daemon
        self.sessions = sessions
        self.done = 0
        self.up = threading.Event()
        self.up.set()
        self.over = threading.Event()

    def blow(self) -> None:
        assassin = threading.Thread(target=self.kill)
        assassin.start()
        with ThreadPoolExecutor(6) as pool:
            clients = [pool.submit(self.ask, random.Random(n)) for n in range(6)]
            for part, end in ((1, self.daemon.stop), (2, self.daemon.kill)):
                wait_until(lambda: self.done > part * self.ROUNDS * 2, "it blows")  # noqa: B023
                self.up.clear()
                end()
                self.daemon.start()
                self.up.set()
            for client in clients:
                client.result()
        self.over.set()
        assassin.join()

    def ask(self, chance: random.Random) -> None:
        for _ in range(self.ROUNDS):
            self.done += 1
            self.up.wait(60)
            try:
                self.one(chance, chance.choice(self.sessions), chance.choice(self.VERBS))
            except RoostError as exc:
                assert exc.wire_name not in ("internal_error", "illegal_transition", "timed_out"), exc

    def one(self, chance: random.Random, session: str, verb: str) -> None:
        call: Any = self.daemon.call
        match verb:
            case "send":
                call("turn.send", session=session, input=chance.choice(self.PROMPTS), timeout=2000)
            case "cancel":
                if turn := self.daemon.session(session)["turn"]:
                    call("turn.cancel", turn=turn)
            case "force":
                call("session.stop", session=session, force=True)
            case "archive":
                call("session.archive", session=session)
                call("session.unarchive", session=session)
            case _:
                call(f"session.{verb}", session=session)

    def kill(self) -> None:
        chance = random.Random(7)
        while not self.over.wait(0.05):
            children = sorted(pids_with(f"ROOST_DAEMON={self.daemon.socket}"))
            if children:
                try:
                    os.kill(chance.choice(children), chance.choice((signal.SIGKILL, signal.SIGTERM)))
                except ProcessLookupError:
                    pass
