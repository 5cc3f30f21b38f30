"""Which daemon is meant."""

from pathlib import Path

import pytest

from roost.client.paths import elsewhere, find, with_options
from roost.protocol.errors import InvalidSettings
from roost.protocol.paths import Paths


def test_an_option_wins_and_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    environ = with_options({"ROOST_STATE_DIRECTORY": "/e", "A": "b"}, state="mine", socket=None)
    assert environ == {"A": "b", "ROOST_STATE_DIRECTORY": f"{tmp_path}/mine"}
    assert find(environ)[0].socket == f"{tmp_path}/mine/run/roost.sock"


def test_a_relative_variable_becomes_absolute_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert with_options({"ROOST_SOCKET": "s"}, state=None, socket=None) == {"ROOST_SOCKET": f"{tmp_path}/s"}


def test_inside_a_session_it_is_that_sessions_daemon_and_none_is_started() -> None:
    paths, startable = find({"HOME": "/h", "ROOST_DAEMON": "/d.sock", "XDG_RUNTIME_DIR": "/r"})
    assert (paths.socket, startable) == ("/d.sock", False)


@pytest.mark.parametrize("named", [{"ROOST_SOCKET": "/n.sock"}, {"ROOST_STATE_DIRECTORY": "/n"}])
def test_inside_a_session_another_may_be_named(named: dict[str, str]) -> None:
    paths, startable = find({"HOME": "/h", "ROOST_DAEMON": "/d.sock", **named})
    assert paths.socket.startswith("/n") and startable


def test_the_lock_tells_where_the_daemon_listens(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text('{"pid": 1, "socket": "/x.sock"}\n')
    paths = find({"ROOST_STATE_DIRECTORY": str(tmp_path)})[0]
    assert elsewhere(paths) == "/x.sock"
    assert elsewhere(Paths(paths.state, paths.socket, paths.lock, True)) is None
    assert elsewhere(Paths(paths.state, "/x.sock", paths.lock, False)) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"socket": 3}'])
def test_a_lock_that_tells_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_text(text)
    assert elsewhere(find({"ROOST_STATE_DIRECTORY": str(tmp_path)})[0]) is None
    assert elsewhere(find({"ROOST_STATE_DIRECTORY": str(tmp_path / "none")})[0]) is None


def test_a_tilde_is_the_home_and_not_a_folder_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {"HOME": "/h", "ROOST_STATE_DIRECTORY": "~/x"}
    assert with_options(environ, state=None, socket=None)["ROOST_STATE_DIRECTORY"] == "/h/x"


def test_a_relative_path_where_the_working_directory_is_gone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(InvalidSettings, match="relative") as caught:
        with_options({}, state="mine", socket=None)
    assert caught.value.data == {"variable": "ROOST_STATE_DIRECTORY", "path": "mine"}
    assert with_options({}, state="/mine", socket=None) == {"ROOST_STATE_DIRECTORY": "/mine"}
