"""Bad input: each gets its own error name and a sentence that says what to do; nothing is lost, nobody else notices."""

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.daemon import DEADLINE, Daemon, running, wait_until
from helpers.engines import engines
from helpers.handed import handed
from roost.protocol import rpc
from roost.protocol.errors import RoostError


def refused(daemon: Daemon, method: str, **params: Any) -> RoostError:
    """The error that a call gets; it names itself and says what to do."""
    with pytest.raises(RoostError) as caught:
        daemon.call(method, **params)
    assert len(caught.value.message) > 20, caught.value.message
    return caught.value


def exits(roostd: Daemon) -> tuple[int, str]:
    """A roostd that does not come up: its exit status and what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "roost.daemon"],
        env=roostd.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    return done.returncode, done.stderr


def test_what_is_not_there(shared: Daemon) -> None:
    session = shared.create()
    assert refused(shared, "session.get", session="s-nothere").name == "session_not_found"
    assert refused(shared, "turn.get", turn="t-nothere").name == "turn_not_found"
    assert refused(shared, "item.read", item="i-nothere").name == "item_not_found"
    assert refused(shared, "session.state", session=session, name="no-such").name == "checkpoint_not_found"
    stateless = refused(shared, "session.checkpoint", session=shared.create())
    assert stateless.name == "checkpoint_not_found" and "roost send" in stateless.message
    unknown = refused(shared, "session.create", engine="shel", workspace="/tmp")
    assert unknown.name == "engine_not_found" and "shell" in unknown.message
    long = refused(shared, "session.create", engine="x" * 1_000_000, workspace="/tmp")
    assert long.name == "invalid_params" and len(rpc.pack(long.to_wire())) < 1000
    verb = refused(shared, "session.gett", session=session)
    assert verb.name == "method_not_found" and "session.get" in verb.message
    field = refused(shared, "session.get", sesion=session)
    assert field.name == "invalid_params" and "session" in field.message
    assert refused(shared, "session.get", session=7).name == "invalid_params"


def test_a_workspace_that_is_none(shared: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for bad in (tmp_path / "missing", tmp_path / "file", Path("relative")):
        error = refused(shared, "session.create", workspace=str(bad))
        assert error.name == "workspace_invalid" and str(bad) in error.message


def test_a_workspace_that_vanishes_fails_the_turn_that_needs_it(shared: Daemon, tmp_path: Path) -> None:
    workspace = tmp_path / "soon-gone"
    workspace.mkdir()
    session = shared.create(workspace=str(workspace))
    workspace.rmdir()
    turn = shared.run(session, "echo hello")
    assert (turn["state"], turn["problem"]["name"]) == ("failed", "workspace_invalid")
    workspace.mkdir()
    assert shared.run(session, "echo hello")["state"] == "completed"


def test_a_name_twice_and_a_name_that_is_none(shared: Daemon) -> None:
    shared.create(name="work")
    assert refused(shared, "session.create", name="work", workspace="/tmp").name == "name_taken"
    assert refused(shared, "session.create", name="no spaces", workspace="/tmp").name == "invalid_params"
    assert refused(shared, "session.create", name="../up", workspace="/tmp").name == "invalid_params"


def test_a_key_again(shared: Daemon) -> None:
    """The same key is the same turn; with other content it is a conflict."""
    session = shared.create()
    first = shared.send(session, "echo once", key="k1")
    assert shared.send(session, "echo once", key="k1") == first
    assert refused(shared, "turn.send", session=session, input="echo twice", key="k1").name == "key_conflict"
    assert len(shared.call("turn.list", session=session)["turns"]) == 1


def test_an_ambiguous_id(shared: Daemon) -> None:
    for _ in range(40):
        shared.create()
    error = refused(shared, "session.get", session="s-")
    assert error.name == "ambiguous_id"


def test_a_prompt_of_20_mb(shared: Daemon) -> None:
    """Over the CLI's own check it is a frame that is too large: answered, then that connection ends and no other."""
    session = shared.create()
    with shared.connect() as other:
        frame = rpc.request(7, "turn.send", {"session": session, "input": "x" * 20_000_000})
        answers = send_and_read(shared, frame)
        assert answers[0].msgid == 7 and answers[0].error["name"] == "frame_too_large"
        assert other.call("session.get", {"session": session})["session"]["turns"] == 0
    too_long = "x" * 1_500_000
    with shared.connect() as connection:
        answers = send_and_read(shared, rpc.request(8, "turn.send", {"session": session, "input": too_long}), 1)
        assert answers[0].error["name"] == "invalid_params" and "1000000" in answers[0].error["message"]
        with pytest.raises(RoostError, match="1500000"):
            connection.call("turn.send", {"session": session, "input": too_long})


def send_and_read(daemon: Daemon, data: bytes, count: int = 0) -> list[Any]:
    """Send on a raw connection and close our side of it; the messages that come back, or ``count`` of them."""
    wire = rpc.Connection()
    found: list[Any] = []
    with socket.socket(socket.AF_UNIX) as raw:
        raw.connect(str(daemon.socket))
        raw.settimeout(DEADLINE)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            raw.sendall(data)
        with contextlib.suppress(OSError):
            raw.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while (not count or len(found) < count) and (received := raw.recv(65536)):
                found += list(wire.receive(received))
    return found


def test_rubbish_ends_that_connection_only(shared: Daemon) -> None:
    with shared.connect() as other:
        for rubbish in (b"\xc1", b"GET / HTTP/1.1\r\n\r\n", b"\x91" * 5000, rpc.pack([3, 1, 2]), os.urandom(5000)):
            send_and_read(shared, rubbish)
            assert other.call("daemon.status", {})["phase"] == "running"


def test_what_cannot_be_done_now(shared: Daemon) -> None:
    session = shared.create()
    turn = shared.run(session, "echo done")["id"]
    assert refused(shared, "turn.edit", turn=turn, input="x").name == "turn_not_queued"
    assert refused(shared, "turn.move", turn=turn, before=None).name == "turn_not_queued"
    assert refused(shared, "turn.remove", turn=turn).name == "turn_not_queued"
    assert shared.call("turn.cancel", turn=turn)["outcome"] == "ended", "nothing changes"
    assert refused(shared, "events.subscribe", session=session, after=10**9).name == "invalid_params"
    assert refused(shared, "session.update", session=session).name == "invalid_params"


def test_a_state_directory_in_use(shared: Daemon) -> None:
    status, said = exits(shared)
    assert status == 11 and "daemon_running" in said and str(shared.pid) in said
    assert shared.call("daemon.status")["pid"] == shared.pid


def test_a_state_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, said = exits(Daemon(tmp_path / "s", ROOST_STATE_DIRECTORY=str(tmp_path / "file" / "below")))
    assert status == 2 and "state_directory_unusable" in said


def test_a_socket_path_that_is_too_long(tmp_path: Path) -> None:
    status, said = exits(Daemon(tmp_path / "s", ROOST_SOCKET=str(tmp_path / ("x" * 120))))
    assert status == 2 and "socket_path_too_long" in said and "107" in said


def test_settings_that_are_wrong(tmp_path: Path) -> None:
    status, said = exits(Daemon(tmp_path / "s", "[limits]\nmax_lives = 3\n"))
    assert status == 2 and "invalid_settings" in said
    assert "max_lives" in said and "max_live" in said and "s.toml" in said and "2" in said


def damaged(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"this is not a database at all, not even near" * 20)


def newer(path: Path) -> None:
    with sqlite3.connect(path) as conn:
        conn.execute("PRAGMA user_version = 999")
    conn.close()


def vanished(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("harm", "name"), [(damaged, "database_damaged"), (newer, "database_newer"), (vanished, "database_missing")]
)
def test_a_refused_database_is_left_as_it_is(used: Daemon, harm: Any, name: str) -> None:
    """Never overwritten, moved or emptied, and not made anew."""
    database = used.state / "roost.db"
    for leftover in used.state.glob("roost.db-*"):
        leftover.unlink()
    harm(database)
    before = database.read_bytes() if database.exists() else None
    status, said = exits(used)
    assert status == 10 and name in said and str(database) in said
    assert (database.read_bytes() if database.exists() else None) == before


def test_a_refused_database_behind_systemds_socket_answers_each_call(used: Daemon) -> None:
    """It stays up, READY, writes nothing, and answers each call with the reason."""
    database = used.state / "roost.db"
    damaged(database)
    before = database.read_bytes()
    with handed(used) as process:
        for _ in range(3):
            assert refused(used, "session.list").name == "database_damaged"
        assert refused(used, "turn.send", session="s", input="x").name == "database_damaged"
        status = used.call("daemon.status")
        assert status["phase"] == "refused" and status["storage"]["problem"]["name"] == "database_damaged"
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 10
        assert used.socket.exists(), "a socket that was handed over is not unlinked"
    assert database.read_bytes() == before


def taken_away(daemon: Daemon, session: str, what: str) -> None:
    """Writes to an unlinked database succeed, so roost looks."""
    with daemon.connect() as connection:
        (daemon.state / what).unlink()
        wait_until(lambda: not connection.call("daemon.status", {})["storage"]["ok"], "it is noticed")
        with pytest.raises(RoostError) as caught:
            connection.call("turn.send", {"session": session, "input": "true"})
        assert caught.value.name == "storage_gone" and what.rpartition("/")[2] in caught.value.message
        assert connection.call("session.get", {"session": session})["session"]["id"] == session
        assert not connection.call("daemon.status", {})["storage"]["ok"]


@pytest.mark.parametrize("what", ["roost.db", "lock", "run/roost.sock"])
def test_storage_that_is_taken_away_is_noticed(daemon: Daemon, what: str) -> None:
    taken_away(daemon, daemon.create(), what)


def test_a_restart_finds_what_was_in_a_wal_that_was_taken_away_and_misses_an_engine(tmp_path: Path) -> None:
    """A session outlives the settings of its engine, too; its turns say what is missing."""
    with running(tmp_path / "s", engines()) as daemon:
        session = daemon.create("sh")
        daemon.run(session, "echo hello")
        taken_away(daemon, session, "roost.db-wal")
        daemon.stop()
        assert not daemon.socket.exists()
        del daemon.environ["ROOST_CONFIG"]
        daemon.start()
        assert daemon.session(session)["last_turn_state"] == "completed"
        assert daemon.call("daemon.status")["storage"]["ok"]
        turn = daemon.run(session, "echo hello")
        assert (turn["state"], turn["problem"]["name"]) == ("failed", "engine_not_found")


@pytest.fixture(scope="module")
def one_small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    daemon = Daemon(tmp_path_factory.mktemp("disk") / "s")
    daemon.state.mkdir(mode=0o700)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(daemon.state)], check=False)
    if mounted.returncode:
        pytest.skip("this machine does not let tests mount a file system")
    try:
        yield daemon.start()
    finally:
        daemon.close()
        subprocess.run(["umount", str(daemon.state)], check=False)


@pytest.fixture
def small_disk(one_small_disk: Daemon) -> Iterator[Daemon]:
    """A daemon whose state directory is a file system of 4 MB."""
    yield one_small_disk
    (one_small_disk.state / "ballast").unlink(missing_ok=True)


def fill(ballast: Path) -> None:
    """Leave no room on the file system."""
    descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    try:
        with pytest.raises(OSError, match="space"):
            while True:
                os.write(descriptor, b"x" * 4096)
    finally:
        os.close(descriptor)


def test_a_full_disk_is_one_requests_error(small_disk: Daemon) -> None:
    """The request gets the error, nothing half-done stays, the daemon goes on and says so."""
    session = small_disk.create()
    ballast = small_disk.state / "ballast"
    fill(ballast)
    failed = refused(small_disk, "turn.send", session=session, input="x" * 500_000)
    assert failed.name == "storage_failed" and "space" in failed.message
    assert not small_disk.call("daemon.status")["storage"]["ok"]
    ballast.unlink()
    assert small_disk.run(session, "echo room again")["state"] == "completed"
    assert len(small_disk.call("turn.list", session=session)["turns"]) == 1
    assert small_disk.call("daemon.status")["storage"]["ok"]


def test_a_turn_survives_a_disk_that_is_full_for_a_while(small_disk: Daemon) -> None:
    """What a running turn says waits for room: nothing of it is lost."""
    session = small_disk.create()
    gate = small_disk.workspace / "gate"
    os.mkfifo(gate)
    turn = small_disk.send(session, f"read x < {gate}; seq 1 40000")
    wait_until(lambda: small_disk.session(session)["turn"], "it runs")
    ballast = small_disk.state / "ballast"
    fill(ballast)
    gate.write_text("go\n")
    wait_until(lambda: not small_disk.call("daemon.status")["storage"]["ok"], "a write failed")
    with contextlib.suppress(RoostError):
        small_disk.call("session.update", session=session, name="small")
    assert not small_disk.call("daemon.status")["storage"]["ok"], "a small write that fits does not hide it"
    ballast.unlink()
    assert small_disk.wait(turn)["state"] == "completed"
    item = small_disk.call("turn.get", turn=turn)["items"][0]
    assert item["content"].split() == [str(n) for n in range(1, 40001)]
