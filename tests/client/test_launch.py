"""What a daemon is started with, and what is told of one that does not start."""

import sys
from pathlib import Path

import pytest

from roost.client import launch
from roost.protocol.errors import DaemonUnreachable


def test_what_was_meant_for_somebody_else_is_not_handed_on() -> None:
    environ = {"PATH": "/bin", "ROOST_STATE_DIRECTORY": "/s", "ROOST_CONFIG": "/c"}
    marks = {
        "ROOST_SESSION": "s-a",
        "ROOST_CHILD": "s-a/c-a",
        "ROOST_DAEMON": "/d",
        "LISTEN_FDS": "1",
        "LISTEN_PID": "1",
        "WATCHDOG_USEC": "1",
    }
    assert launch.cleaned(environ | marks | {"NOTIFY_SOCKET": "/n"}) == environ


def reach(monkeypatch: pytest.MonkeyPatch, state: Path, code: str) -> DaemonUnreachable:
    """How a program that is no daemon is refused."""
    monkeypatch.setattr(launch, "command", lambda: [sys.executable, "-c", code])
    monkeypatch.setattr(launch, "START_SECONDS", 0.5)
    with pytest.raises(DaemonUnreachable) as caught:
        launch.reach({"ROOST_STATE_DIRECTORY": str(state)}, start=True)
    return caught.value


def test_its_status_and_the_last_thing_it_said_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "roostd.log").write_text("of before\n")
    error = reach(monkeypatch, tmp_path, "import sys; sys.exit('first\\n| the reason\\n+-----')")
    assert error.message == (
        f"roostd ended with exit status 1: the reason; see {tmp_path}/roostd.log"
    )  # fmt: skip


def test_one_that_says_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "roostd.log").write_text("of before\n")
    assert "exit status 3: it said nothing" in reach(monkeypatch, tmp_path, "raise SystemExit(3)").message


def test_one_that_finds_the_lock_held_waits_for_the_other_and_gives_up_in_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    error = reach(monkeypatch, tmp_path, "raise SystemExit(11)")
    assert f"another daemon holds {tmp_path}/lock" in error.message and error.data["status"] == 11


def test_one_that_never_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = "import signal; signal.alarm(3); signal.pause()"
    assert "does not answer" in reach(monkeypatch, tmp_path, code).message


def test_a_log_that_grew_long_is_put_aside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "roostd.log").write_bytes(b"x" * 5_000_000)
    reach(monkeypatch, tmp_path, "raise SystemExit('why')")
    assert (tmp_path / "roostd.log").read_text() == "why\n"
    assert (tmp_path / "roostd.log.1").stat().st_size == 5_000_000


def test_where_the_holder_of_the_lock_has_ended_another_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(launch, "_AGAIN_SECONDS", 0.0)
    first = "import os, sys; path = sys.argv[1]; sys.exit(3) if os.path.exists(path) else open(path, 'w'); sys.exit(11)"
    monkeypatch.setattr(launch, "command", lambda: [sys.executable, "-c", first, str(tmp_path / "once")])
    with pytest.raises(DaemonUnreachable, match="roostd ended with exit status 3"):
        launch.reach({"ROOST_STATE_DIRECTORY": str(tmp_path)}, start=True)
