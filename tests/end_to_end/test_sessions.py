"""A session is a process: started once, restored, unloaded, ended; what breaks one breaks no other."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers.daemon import Daemon, alive, pids_with, wait_until
from helpers.engines import engines
from roost.protocol.errors import RoostError, SessionArchived, SessionBusy


@pytest.fixture(scope="module")
def settings() -> str:
    return engines("[sessions]\ncancel_grace = '500ms'\nterm_grace = '500ms'\nrestart_intensity = 3\n")


@pytest.fixture
def daemon(shared: Daemon) -> Daemon:
    return shared


def children(daemon: Daemon, session: str) -> set[int]:
    return pids_with(f"ROOST_SESSION={session}")


def test_first_requests_at_once_start_one_child(daemon: Daemon) -> None:
    """K first requests, one child, and all K are answered by it."""
    session = daemon.create("thinking")
    with ThreadPoolExecutor(20) as pool:
        calls = [
            pool.submit(daemon.call, "session.start", session=session)
            if n % 2
            else pool.submit(daemon.run, session, f"thought {n}")
            for n in range(20)
        ]
        for call in calls:
            call.result()
    assert len(children(daemon, session)) == 1
    started = [
        e for e in daemon.events(session) if e["kind"] == "session.state_changed" and e["data"]["new"] == "ready"
    ]
    assert sum(e["data"]["reason"] == "started" for e in started) == 1


def test_a_client_that_leaves_in_the_middle_changes_nothing(daemon: Daemon) -> None:
    """No work lives in a connection's cancel scope."""
    session = daemon.create("thinking")
    leaver, stayer = daemon.connect(), daemon.connect()
    leaver.send("session.start", {"session": session})
    waiting = stayer.send("session.start", {"session": session})
    leaver.send("turn.send", {"session": session, "input": "left behind"})
    leaver.close()
    assert stayer.result(waiting, timeout=30)["session"]["state"] == "ready"
    stayer.close()
    turns = wait_until(lambda: daemon.call("turn.list", session=session)["turns"], "the turn was taken")
    assert daemon.wait(turns[0]["id"])["state"] == "completed"
    assert len(turns) == 1 and len(children(daemon, session)) == 1


def test_200_sessions_run_a_turn_at_the_same_moment(roostd: Daemon) -> None:
    daemon = roostd.start()
    sessions = [daemon.create() for _ in range(200)]
    gate = daemon.workspace / "gate"
    os.mkfifo(gate)
    turns = [daemon.send(session, f"read line < {gate}; echo $ROOST_SESSION") for session in sessions]
    wait_until(lambda: all(daemon.session(s)["turn"] for s in sessions), "200 turns run", 120)
    pids = [daemon.session(session)["pid"] for session in sessions]
    assert len(set(pids)) == 200 and all(alive(pid) for pid in pids)
    for session, pid in zip(sessions, pids, strict=True):
        environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert f"ROOST_SESSION={session}".encode() in environ
    hold = os.open(gate, os.O_RDWR)
    os.write(hold, b"go\n" * 200)
    for session, turn in zip(sessions, turns, strict=True):
        assert daemon.wait(turn)["state"] == "completed"
        assert daemon.output(turn).strip() == session
    os.close(hold)


def test_a_stopped_worker_delays_nobody_else(daemon: Daemon) -> None:
    frozen, other = daemon.create("odd"), daemon.create("odd")
    daemon.run(frozen, "say hello")
    os.kill(daemon.session(frozen)["pid"], signal.SIGSTOP)
    stuck = daemon.send(frozen, "say nothing")
    for n in range(50):
        assert daemon.run(other, f"say {n}")["state"] == "completed"
    assert daemon.call("turn.get", turn=stuck)["turn"]["state"] == "running"
    os.kill(daemon.session(frozen)["pid"], signal.SIGCONT)
    assert daemon.wait(stuck)["state"] == "completed"


def test_a_child_that_dies_fails_its_turn_with_its_last_words(daemon: Daemon) -> None:
    """The turn says how its child died; the next one gets a new child."""
    session = daemon.create("odd")
    turn = daemon.run(session, "die 7")
    assert (turn["state"], turn["problem"]["name"]) == ("failed", "worker_exited")
    assert turn["problem"]["data"]["exit_code"] == 7
    assert "odd: last words" in turn["problem"]["data"]["stderr"]
    assert daemon.call("session.wait", session=session)["session"]["state"] == "idle"
    assert daemon.run(session, "say again")["state"] == "completed"
    killed = daemon.run(session, "kill")
    assert killed["problem"]["data"]["signal"] == signal.SIGKILL


@pytest.mark.parametrize("prompt", ["rubbish", "unknown", "item", "wrong"])
def test_a_worker_that_breaks_the_protocol_is_ended_alone(daemon: Daemon, prompt: str) -> None:
    session, other = daemon.create("odd"), daemon.create("odd")
    turn = daemon.run(session, prompt)
    assert (turn["state"], turn["problem"]["name"]) == ("failed", "worker_violation")
    assert daemon.run(other, "say unharmed")["state"] == "completed"
    assert daemon.run(session, "say anew")["state"] == "completed"


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        ("odd-rubbish", "worker_violation"),
        ("odd-exit", "worker_exited"),
        ("odd-old", "worker_violation"),
        ("missing", "engine_failed"),
    ],
)
def test_an_engine_that_cannot_start_fails_its_turn(daemon: Daemon, engine: str, name: str) -> None:
    """The turn is failed with the reason, its end is sent, and the session is free again."""
    session = daemon.create(engine)
    turn = daemon.run(session, "hello")
    assert (turn["state"], turn["problem"]["name"]) == ("failed", name)
    assert len(turn["problem"]["message"]) > 20
    with pytest.raises(RoostError) as caught:
        daemon.call("session.start", session=session)
    assert caught.value.name == name
    assert daemon.session(session)["state"] == "idle"


def test_a_mute_worker_is_given_up_after_its_time(daemon: Daemon) -> None:
    with daemon.reloaded(engines("[limits]\nstart_timeout = '1s'\n")):
        turn = daemon.run(daemon.create("odd-mute"), "hello")
    assert (turn["state"], turn["problem"]["name"]) == ("failed", "timed_out")


def test_a_crash_loop_ends_in_the_open_and_can_be_rearmed(daemon: Daemon) -> None:
    session = daemon.create("odd-exit", after={"failed": "continue"})
    for n in range(6):
        daemon.send(session, f"try {n}")
    wait_until(lambda: daemon.session(session)["state"] == "failed", "it is given up")
    wait_until(lambda: daemon.session(session)["queued"] == 3, "the turn that wanted the last start fails, too")
    assert "exits at once" in daemon.session(session)["failure"]["data"]["stderr"]
    assert len([t for t in daemon.call("turn.list", session=session)["turns"] if t["state"] == "failed"]) == 3
    with pytest.raises(RoostError):
        daemon.call("session.start", session=session)
    assert daemon.session(session)["state"] in ("idle", "starting", "failed")


def test_stop_keeps_the_state_and_the_next_turn_restores_it(daemon: Daemon) -> None:
    """The saved copy is kept when it was restored."""
    session = daemon.create("odd")
    daemon.run(session, "one")
    pid = daemon.session(session)["pid"]
    assert daemon.call("session.stop", session=session)["session"]["state"] == "idle"
    assert not alive(pid)
    assert daemon.call("session.state", session=session)["state"] == ["one"]
    daemon.run(session, "two")
    assert daemon.call("session.state", session=session)["state"] == ["one", "two"]
    assert daemon.call("session.checkpoints", session=session)["checkpoints"][0]["name"] == "latest"


def test_stop_cancels_the_running_turn(daemon: Daemon) -> None:
    session = daemon.create("odd")
    turn = daemon.send(session, "wait")
    wait_until(lambda: daemon.session(session)["turn"], "it runs")
    daemon.call("session.stop", session=session)
    assert (daemon.wait(turn)["state"], daemon.wait(turn)["reason"]) == ("cancelled", "user")


def test_a_forced_stop_does_not_ask(daemon: Daemon) -> None:
    session = daemon.create("odd")
    turn = daemon.send(session, "deaf")
    wait_until(lambda: daemon.session(session)["turn"], "it runs")
    daemon.call("session.stop", session=session, force=True)
    assert daemon.wait(turn)["state"] == "cancelled" and daemon.session(session)["state"] == "idle"


def test_idle_sessions_are_saved_and_unloaded(daemon: Daemon) -> None:
    """Saved before it leaves memory, restored when asked for."""
    with daemon.reloaded(engines("[sessions]\nidle_unload = '300ms'\nidle_sweep = '100ms'\n")):
        session = daemon.create("odd")
        daemon.run(session, "remember me")
        pid = daemon.session(session)["pid"]
        wait_until(lambda: daemon.session(session)["state"] == "idle", "it is unloaded")
        assert not alive(pid)
        events = [e for e in daemon.events(session) if e["kind"] in ("session.state_changed", "checkpoint.saved")]
        assert "idle" in [e["data"].get("reason") for e in events]
        kinds = [e["data"].get("new", e["kind"]) for e in events]
        assert kinds.index("checkpoint.saved") < kinds.index("stopping"), "saved before it leaves memory"
        daemon.run(session, "and this")
        assert daemon.call("session.state", session=session)["state"] == ["remember me", "and this"]


def test_the_least_recently_used_make_room(daemon: Daemon) -> None:
    """Never one with a running turn."""
    with daemon.reloaded(engines("[limits]\nmax_live = 3\n")):
        busy = daemon.create("odd")
        daemon.send(busy, "wait")
        wait_until(lambda: daemon.session(busy)["turn"], "it runs")
        others = [daemon.create("odd") for _ in range(5)]
        for other in others:
            daemon.run(other, "say hello")
        wait_until(lambda: daemon.call("daemon.status")["sessions"] <= 3, "the oldest were unloaded")
        assert daemon.session(busy)["state"] == "busy"
        assert daemon.session(others[-1])["state"] == "ready"
        assert daemon.session(others[0])["state"] == "idle"
        assert daemon.call("session.state", session=others[0])["state"] == ["say hello"]


def test_archive_and_delete(daemon: Daemon) -> None:
    session = daemon.create("odd", name="old")
    daemon.run(session, "say hello")
    assert daemon.call("session.archive", session="old")["session"]["archived"]
    assert children(daemon, session) == set()
    with pytest.raises(SessionArchived):
        daemon.send(session, "more")
    daemon.call("session.unarchive", session=session)
    turn = daemon.send(session, "wait")
    wait_until(lambda: daemon.session(session)["turn"], "it runs")
    with pytest.raises(SessionBusy):
        daemon.call("session.delete", session=session)
    daemon.call("session.delete", session=session, force=True)
    assert children(daemon, session) == set()
    with pytest.raises(RoostError):
        daemon.call("turn.get", turn=turn)
    assert [e["kind"] for e in daemon.events() if e["session"] == session][-1] == "session.deleted"


def test_clear_empties_the_state_and_the_session_lives_on(daemon: Daemon) -> None:
    """The session outlives its last thought and a clear."""
    session = daemon.create("thinking")
    daemon.run(session, "one")
    daemon.call("session.clear", session=session)
    assert daemon.call("session.state", session=session)["state"]["history"] == []
    assert daemon.run(session, "two")["state"] == "completed"
    daemon.call("session.stop", session=session)
    daemon.call("session.clear", session=session)
    assert daemon.call("session.state", session=session)["source"] == "none"


def test_a_waiter_for_each_end(daemon: Daemon) -> None:
    """Any number wait for the end, and each gets it."""
    session = daemon.create("odd")
    turn = daemon.send(session, "wait")
    results: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(daemon.wait(turn)["state"])) for _ in range(5)]
    for thread in threads:
        thread.start()
    wait_until(lambda: daemon.session(session)["turn"], "it runs")
    daemon.call("turn.cancel", turn=turn)
    for thread in threads:
        thread.join(30)
    assert results == ["cancelled"] * 5


def test_a_session_of_kind_command(daemon: Daemon) -> None:
    echo, cat, sh = daemon.create("echo"), daemon.create("cat"), daemon.create("sh")
    assert daemon.output(daemon.run(echo, "an argument")["id"]) == "an argument\n"
    assert daemon.output(daemon.run(cat, "from stdin")["id"]) == "from stdin"
    failed = daemon.run(sh, "echo so >&2; exit 4")
    assert (failed["state"], failed["exit_code"]) == ("failed", 4)
    assert failed["problem"]["data"]["stderr"] == "so\n"
    assert daemon.session(sh)["state"] == "idle"
    turn = daemon.send(sh, "sleep 1000")
    wait_until(lambda: children(daemon, sh), "it runs")
    daemon.call("turn.cancel", turn=turn)
    assert daemon.wait(turn)["state"] == "cancelled" and children(daemon, sh) == set()


def test_a_timeout_and_an_idle_timeout(daemon: Daemon) -> None:
    session = daemon.create("odd")
    long = daemon.run(session, "wait", timeout=300)
    assert (long["state"], long["reason"], long["problem"]["data"]) == ("cancelled", "timeout", {"limit": "timeout"})
    sh = daemon.create("sh")
    chatty = daemon.run(sh, "for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.2; done", idle_timeout=1500)
    assert chatty["state"] == "completed", "whatever the child sends starts it again"
    silent = daemon.run(sh, "echo 1; sleep 1000", idle_timeout=300)
    assert silent["problem"]["data"] == {"limit": "idle_timeout"}


def test_a_workspace_cannot_stand_in_for_the_standard_library(daemon: Daemon) -> None:
    for name in ("queue", "os", "msgpack", "json"):
        (daemon.workspace / f"{name}.py").write_text("raise SystemExit('imported from the workspace')")
    for engine in ("shell", "thinking"):
        assert daemon.run(daemon.create(engine), "true")["state"] == "completed"
