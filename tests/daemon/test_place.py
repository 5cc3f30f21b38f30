"""One daemon for a state directory, by a lock that no crash leaves behind; and files that vanish are noticed."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.children import ENV
from helpers.daemon import DEADLINE
from roost.daemon.place import Place
from roost.daemon.settings import Settings, load
from roost.protocol.errors import DaemonRunning, StateDirectoryUnusable

DAEMON = """
import subprocess, sys
from roost.daemon.place import Place
from roost.daemon.settings import load
from roost.protocol.errors import RoostError
try:
    place = Place.take(load({"ROOST_STATE_DIRECTORY": sys.argv[1]}))
    child = subprocess.Popen(["sleep", "600"], close_fds=False, stdout=subprocess.DEVNULL)
    print("taken", child.pid, flush=True)
except RoostError as error:
    print(error.name, error.data["pid"], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "state"


def settings(state: Path | str) -> Settings:
    return load({"ROOST_STATE_DIRECTORY": str(state)})


@pytest.fixture
def place(state: Path) -> Iterator[Place]:
    taken = Place.take(settings(state))
    yield taken
    taken.release()


def test_directory_is_made_for_this_user_alone(place: Place, state: Path) -> None:
    assert state.stat().st_mode & 0o777 == 0o700
    assert (state / "lock").stat().st_mode & 0o777 == 0o600
    assert (place.state_directory, place.database) == (state, state / "roost.db")


def test_directory_open_to_others_is_closed(state: Path) -> None:
    state.mkdir(parents=True)
    state.chmod(0o755)
    Place.take(settings(state)).release()
    assert state.stat().st_mode & 0o777 == 0o700


def unusable(state: Path | str) -> str:
    with pytest.raises(StateDirectoryUnusable) as caught:
        Place.take(settings(state))
    assert caught.value.data["path"] == str(state) and str(state) in caught.value.message
    return str(caught.value.data["reason"])


def test_what_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert unusable(tmp_path / "file") == "it is not a directory"
    assert unusable(tmp_path / "file" / "below") == "Not a directory"


def test_what_cannot_be_written() -> None:
    """/sys refuses root too."""
    assert unusable("/sys/roost") in ("Operation not permitted", "Permission denied", "Read-only file system")


def test_what_is_somebody_elses(state: Path) -> None:
    if os.geteuid() == 0:
        state.mkdir(parents=True)
        os.chown(state, 65534, 65534)
        assert unusable(state) == "it belongs to user 65534"
    else:
        assert unusable("/usr") == "it belongs to user 0"


def test_lock_that_is_a_link_is_not_followed(state: Path, tmp_path: Path) -> None:
    state.mkdir(parents=True)
    (state / "lock").symlink_to(tmp_path / "target")
    unusable(state)
    assert not (tmp_path / "target").exists()


def test_lock_says_who_holds_it_and_where_it_listens(place: Place, state: Path) -> None:
    line = {"pid": os.getpid(), "socket": f"{state}/run/roost.sock"}
    assert (state / "lock").read_text() == json.dumps(line) + "\n"
    place.release()
    assert (state / "lock").read_text() == ""
    place.release()


def test_second_daemon_is_refused(place: Place, state: Path) -> None:
    with pytest.raises(DaemonRunning) as caught:
        Place.take(settings(state))
    assert caught.value.data == {"pid": os.getpid(), "path": str(state)}
    assert f"(pid {os.getpid()}) already runs on {state}" in caught.value.message
    place.release()
    Place.take(settings(state)).release()


@pytest.mark.parametrize("content", ["", "garbage", "[]", "{}", '{"pid": "me"}', "\udcff"])
def test_holder_that_has_not_said_who_it_is(place: Place, state: Path, content: str) -> None:
    (state / "lock").write_text(content, errors="surrogateescape")
    with pytest.raises(DaemonRunning, match=r"\(pid unknown\)") as caught:
        Place.take(settings(state))
    assert caught.value.data["pid"] is None


def daemon(state: Path) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", DAEMON, str(state)], env=ENV, stdin=pipe, stdout=pipe, text=True)


def said(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


def test_of_many_at_once_one_gets_it_and_a_crash_gives_it_back(state: Path) -> None:
    """The killed one leaves a child behind, which has not inherited the lock."""
    racers = [daemon(state) for _ in range(6)]
    words = [said(racer) for racer in racers]
    (winner,) = [place for place, word in enumerate(words) if word[0] == "taken"]
    holder, child = racers[winner].pid, int(words[winner][1])
    try:
        others = [word for place, word in enumerate(words) if place != winner]
        assert {name for name, _ in others} == {"daemon_running"}
        assert {pid for _, pid in others} <= {str(holder), "None"}
        with pytest.raises(DaemonRunning) as caught:
            Place.take(settings(state))
        assert caught.value.data["pid"] == holder
        os.kill(holder, signal.SIGKILL)
        racers[winner].wait()
        Place.take(settings(state)).release()
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        for process in racers:
            process.communicate()


def test_mark_that_a_database_was_here(place: Place, state: Path) -> None:
    assert not place.used
    place.mark_used()
    place.mark_used()
    assert place.used
    place.release()
    again = Place.take(settings(state))
    assert again.used
    again.release()


def test_mark_that_cannot_be_made(place: Place, state: Path) -> None:
    (state / "lock").unlink()
    state.rmdir()
    with pytest.raises(StateDirectoryUnusable):
        place.mark_used()


def test_nothing_changed(place: Place) -> None:
    place.database.touch()
    place.watch(place.database)
    place.database.write_text("more")
    assert place.changed() is None
    assert place.same(place.database)
    assert set(place.identities()) == {place.state_directory / "lock", place.database}


def test_vanished_and_replaced_files_are_named(place: Place, state: Path) -> None:
    socket = state / "roost.sock"
    for path in (place.database, socket):
        path.touch()
    place.watch(place.database, socket)
    place.database.rename(state / "aside")
    assert place.changed() == str(place.database)
    (state / "aside").rename(place.database)
    assert place.changed() is None
    (state / "new").touch()
    (state / "new").rename(socket)
    assert place.changed() == str(socket)
    assert place.same(place.database) and not place.same(socket)


def test_a_look_that_outlasts_the_watch_tells_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is closed removes its WAL."""
    looks, ended = threading.Event(), threading.Event()

    def look() -> str:
        looks.set()
        ended.wait(DEADLINE)
        return "roost.db-wal"

    monkeypatch.setattr(place, "changed", look)
    told: list[str] = []
    over = place.watch_on(0.0, told.append)
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "roost-files")
    assert looks.wait(DEADLINE)
    over.set()
    ended.set()
    thread.join(DEADLINE)
    assert told == [] and not thread.is_alive()


def test_state_directory_that_is_gone(place: Place, state: Path) -> None:
    state.rename(state.parent / "moved")
    assert place.changed() == str(state / "lock")
