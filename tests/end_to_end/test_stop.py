"""SIGTERM: states saved in batches, the truth about what was lost, and the same by every way to stop."""

import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from helpers.daemon import DEADLINE, Daemon, alive, pids_with, wait_until
from helpers.engines import diary, engines
from helpers.handed import handed

FAST = "[checkpoints]\nbatch_timeout = '3s'\n[sessions]\ncancel_grace = '500ms'\nterm_grace = '500ms'\n"


def stopped(daemon: Daemon) -> dict[str, Any]:
    """The report of the last stop."""
    return dict(next(e for e in reversed(daemon.events()) if e["kind"] == "daemon.stopped")["data"])


@pytest.fixture
def odd(tmp_path: Path) -> Any:
    daemon = Daemon(tmp_path / "s", engines(FAST))
    yield daemon.start()
    daemon.close()


def test_119_saved_one_timed_out_and_one_that_died_before_it_could_be_asked_is_a_loss(odd: Daemon) -> None:
    """One child that never answers costs nobody else's state."""
    sessions = [odd.create("odd") for _ in range(120)]
    hung = sessions.pop(60)
    with odd.connect() as connection:
        connection.call("turn.send", {"session": hung, "input": "deaf"})
        for session in sessions:
            connection.call("turn.send", {"session": session, "input": f"remember {session}"})
        for session in sessions:
            connection.call("session.wait", {"session": session}, 60)
    wait_until(lambda: odd.session(hung)["turn"], "the deaf one runs")
    assert odd.stop(deadline=60) == 9
    odd.start()
    report = stopped(odd)
    assert report["timed_out"] == [hung] and report["failed"] == []
    assert (report["sessions"], report["saved"], report["unchanged"]) == (120, 119, 0)
    assert (report["batches"], report["batches_ok"], report["batches_timed_out"]) == (3, 2, 1)
    assert report["duration"] < 3000 + 2000, "over within the limit of its one batch"
    with odd.connect() as connection:
        for session in sessions:
            state = connection.call("session.state", {"session": session})
            assert (state["source"], state["state"]) == ("checkpoint", [f"remember {session}"])

    died = sessions[0]
    odd.run(died, "remember")
    pid = odd.session(died)["pid"]
    odd.run(died, "stop")  # it stops itself with SIGSTOP after its answer
    assert alive(pid)
    assert odd.stop(deadline=60) == 9
    assert stopped(odd.start())["timed_out"] == [died]
    assert not alive(pid)


def test_nothing_live_stops_at_once_and_only_its_own_socket_goes_with_it(daemon: Daemon) -> None:
    assert daemon.stop() == 0
    assert not daemon.socket.exists()
    own = daemon.socket
    with handed(daemon) as process:
        assert stopped(daemon)["sessions"] == 0
        process.terminate()
        assert process.wait(DEADLINE) == 0
        assert daemon.socket.is_socket()
    daemon.socket = own
    daemon.start()
    with socket.socket(socket.AF_UNIX) as listener:
        other = own.with_name("other.sock")
        listener.bind(str(other))
        other.rename(own)
        daemon.stop()
        assert own.is_socket()


def test_a_stop_saves_what_is_not_saved_interrupts_what_runs_and_no_child_outlives_it(odd: Daemon) -> None:
    """The same by daemon.shutdown as by SIGTERM."""
    clean, session = odd.create("odd"), odd.create("odd")
    odd.run(clean, "save me")
    turn = odd.send(session, "wait for ever")
    later = odd.send(session, "say later")
    wait_until(lambda: odd.session(session)["turn"] == turn, "the turn runs")
    assert odd.stop() == 0
    odd.start()
    ended = odd.call("turn.get", turn=turn)["turn"]
    assert (ended["state"], ended["reason"]) == ("interrupted", "daemon_shutdown")
    report = stopped(odd)
    assert (report["saved"], report["unchanged"]) == (1, 1), "a clean state is not saved again"
    assert report["interrupted"] == [turn] and report["status"] == 0
    assert odd.call("session.state", session=clean)["state"] == ["save me"]
    record = odd.session(session)
    assert record["hold"]["reason"] == "interrupted" and record["queued"] == 1
    assert odd.call("session.release", session=session)["released"] == 1
    assert odd.wait(later)["state"] == "completed"
    state = odd.call("session.state", session=session)["state"]
    assert state == ["wait for ever", "interrupted: wait for ever", "say later"], "its engine was told"

    odd.call("daemon.shutdown", reason="test")
    assert odd.process is not None and odd.process.wait(30) == 0
    report = stopped(odd.start())
    assert (report["reason"], report["saved"]) == ("test", 1)

    for _ in range(10):
        odd.run(odd.create("odd"), "say hello")
    shell = odd.create()
    odd.send(shell, "trap '' TERM; sleep 1000")
    mark = f"ROOST_DAEMON={odd.socket}"
    wait_until(lambda: len(pids_with(mark)) >= 12, "the command runs")
    assert odd.stop(deadline=60) == 0
    assert pids_with(mark) == set()


def test_a_stop_admits_nothing_new_and_a_second_sigterm_cuts_its_waiting_short(tmp_path: Path) -> None:
    """What is applied after a snapshot is lost, so nothing is applied."""
    slow = FAST.replace("3s", "60s")
    daemon = Daemon(tmp_path / "s", engines(slow))
    try:
        daemon.start()
        session = daemon.create("odd")
        turn = daemon.send(session, "deaf")
        wait_until(lambda: daemon.session(session)["turn"], "the deaf one runs")
        with daemon.connect() as connection:
            assert daemon.process is not None
            daemon.process.send_signal(signal.SIGTERM)
            wait_until(lambda: connection.call("daemon.status", {})["phase"] == "stopping", "it stops")
            with pytest.raises(Exception, match="stopping") as caught:
                connection.call("turn.send", {"session": session, "input": "late"})
            assert getattr(caught.value, "name", "") == "shutting_down"
        assert daemon.stop(deadline=20) == 9
        report = stopped(daemon.start())
        assert report["timed_out"] == [session] and report["interrupted"] == [turn]
        ended = daemon.call("turn.get", turn=turn)["turn"]
        assert (ended["state"], ended["reason"]) == ("interrupted", "daemon_shutdown")
    finally:
        daemon.close()


def keeping_a_diary(folder: Path, answer: str, last: str, settings: str) -> tuple[Daemon, Path]:
    met = folder / "diary"
    met.touch()
    engine = f"[engines.diary]\ncommand = {json.dumps(diary(met, answer, last))}\n"
    return Daemon(folder / "s", f"{settings}\n{engine}"), met


def test_a_worker_is_asked_to_end_by_each_way_to_stop(tmp_path: Path) -> None:
    daemon, met = keeping_a_diary(tmp_path, "yes", "shutdown", "[sessions]\nstop_grace = '60s'")
    try:
        session = daemon.start().create("diary")
        daemon.call("session.start", session=session)
        daemon.call("session.stop", session=session)
        assert met.read_text().split() == ["initialize", "shutdown"]
        daemon.call("session.start", session=session)
        assert daemon.stop() == 0
        assert met.read_text().split() == ["initialize", "shutdown"] * 2
    finally:
        daemon.close()


def test_the_deadline_of_the_stop_cuts_longer_graces_short(tmp_path: Path) -> None:
    settings = "[daemon]\nstop_deadline = '2s'\n[sessions]\nstop_grace = '1h'\nterm_grace = '1h'"
    daemon, met = keeping_a_diary(tmp_path, "silence", "never", settings)
    try:
        session = daemon.start().create("diary")
        daemon.call("session.start", session=session)
        pid = daemon.session(session)["pid"]
        assert daemon.stop(deadline=60) == 0
        assert not alive(pid) and set(met.read_text().split()) <= {"initialize", "shutdown"}, "it was killed"
    finally:
        daemon.close()
