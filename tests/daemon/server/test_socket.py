"""The socket is bound where it should be, for whom it should be, and never over something that lives."""

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from roost.daemon.server.socket import bind, peer_of
from roost.protocol.errors import SocketInUse, SocketPathTooLong, StateDirectoryUnusable


def test_it_is_made_for_its_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "run" / "roost.sock"
    with bind(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_wider_mode_is_given_whatever_the_umask_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    old = os.umask(0o077)
    try:
        with bind(tmp_path / "s", mode=0o666):
            assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o666
    finally:
        os.umask(old)


@pytest.mark.parametrize(("directory", "mode"), [(0o755, 0o600), (0o710, 0o600), (0o777, 0o666), (0o775, 0o666)])
def test_a_directory_open_to_others_is_refused(tmp_path: Path, directory: int, mode: int) -> None:
    tmp_path.chmod(directory)
    with pytest.raises(StateDirectoryUnusable) as refused:
        bind(tmp_path / "s", mode=mode)
    assert str(tmp_path) in refused.value.message and f"{directory:04o}" in refused.value.message
    assert not (tmp_path / "s").exists()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateDirectoryUnusable) as refused:
        bind(tmp_path / "file" / "s")
    assert refused.value.data["path"] == str(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    with pytest.raises(StateDirectoryUnusable, match="65534"):
        bind(tmp_path / "s")


def test_a_path_that_cannot_be_listened_on_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateDirectoryUnusable) as refused:
        bind(f"{tmp_path}/missing/")
    assert refused.value.data["path"] == f"{tmp_path}/missing/" and "setting" in refused.value.message


def test_a_path_of_107_bytes_is_bound_and_one_of_108_is_refused(tmp_path: Path) -> None:
    room = 107 - len(os.fsencode(tmp_path)) - 1
    bind(tmp_path / ("s" * room)).close()
    path = tmp_path / ("é" + "s" * (room - 1))
    with pytest.raises(SocketPathTooLong) as refused:
        bind(path)
    assert refused.value.data == {"path": str(path), "bytes": 108, "limit": 107}
    assert str(path) in refused.value.message and "108" in refused.value.message


def test_a_dead_daemons_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    bind(path).close()
    assert path.exists()
    with bind(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_live_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with bind(path):
        with pytest.raises(SocketInUse) as refused:
            bind(path)
        assert refused.value.data == {"path": str(path)}
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_a_live_socket_whose_backlog_is_full_is_left_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as client:
        busy.bind(path)
        busy.listen(0)
        client.connect(path)
        with pytest.raises(SocketInUse):
            bind(path)


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "s"
    make(path)
    with pytest.raises(SocketInUse, match="not a socket"):
        bind(path)
    assert path.exists()


def test_a_link_to_a_socket_is_left_alone(tmp_path: Path) -> None:
    bind(tmp_path / "real").close()
    (tmp_path / "s").symlink_to(tmp_path / "real")
    with pytest.raises(SocketInUse, match="not a socket"):
        bind(tmp_path / "s")


def test_the_kernel_says_who_is_at_the_other_end() -> None:
    here, there = socket.socketpair(socket.AF_UNIX)
    with here, there:
        assert peer_of(here) == (os.getpid(), os.getuid(), os.getgid())
