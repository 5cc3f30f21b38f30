"""What systemd hands over and hears, on real sockets."""

import fcntl
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest

from helpers.children import ENV
from roost.daemon.systemd import Notifier, watchdog_interval


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.setblocking(False)
        yield receiver


def notifier(receiver: socket.socket) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": receiver.getsockname()})


def test_messages(systemd: socket.socket) -> None:
    said = notifier(systemd)
    said.ready()
    said.status("serving\n3 sessions")
    said.watchdog()
    said.extend_timeout(1.5)
    said.stopping()
    said.close()
    assert [systemd.recv(4096) for _ in range(5)] == [
        b"READY=1",
        b"STATUS=serving 3 sessions",
        b"WATCHDOG=1",
        b"EXTEND_TIMEOUT_USEC=1500000",
        b"STOPPING=1",
    ]


def test_a_reload_says_when_it_began(systemd: socket.socket) -> None:
    """systemd tells it from an older one by the time."""
    said, before = notifier(systemd), time.monotonic_ns() // 1000
    said.reloading()
    said.close()
    first, second = systemd.recv(4096).decode().splitlines()
    assert first == "RELOADING=1"
    name, _, told = second.partition("=")
    assert name == "MONOTONIC_USEC" and before <= int(told) <= time.monotonic_ns() // 1000


def test_abstract_address() -> None:
    name = f"roost-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("\0" + name)
        said = Notifier({"NOTIFY_SOCKET": "@" + name})
        said.ready()
        said.close()
        assert receiver.recv(64, socket.MSG_DONTWAIT) == b"READY=1"


def test_without_systemd_nothing_happens() -> None:
    said = Notifier({})
    said.ready()
    said.close()


def test_systemd_that_is_gone_is_no_error(systemd: socket.socket) -> None:
    said = notifier(systemd)
    os.unlink(systemd.getsockname())
    said.ready()
    said.close()
    said.ready()


def test_what_finds_no_room_goes_with_the_next_message(systemd: socket.socket) -> None:
    """A lost READY=1 would be the end of the daemon."""
    said, others = notifier(systemd), 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other, suppress(BlockingIOError):
        other.setblocking(False)
        while True:
            other.sendto(b"another unit", systemd.getsockname())
            others += 1
    said.ready()
    assert {systemd.recv(4096) for _ in range(others)} == {b"another unit"}
    said.watchdog()
    assert systemd.recv(4096) == b"READY=1\nWATCHDOG=1"
    said.watchdog()
    said.close()
    assert systemd.recv(4096) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_interval(environ: dict[str, str], seconds: float | None) -> None:
    assert watchdog_interval(environ) == seconds


LISTEN = """
import os, sys
from roost.daemon.systemd import listen_socket
from roost.protocol.errors import RoostError
if "LISTEN_PID" not in os.environ:
    os.environ["LISTEN_PID"] = str(os.getpid())
try:
    found = listen_socket(os.environ)
    print(found and (found.fileno(), os.get_inheritable(found.fileno()), found.getsockname()))
except RoostError as error:
    print(error.name, error.message)
print([name for name in os.environ if name.startswith("LISTEN_")])
"""


def handed(*sockets: socket.socket | IO[str], **environ: str) -> list[str]:
    """What a daemon prints that these sockets are handed to, as descriptors 3 and on."""
    reader, writer = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, writer, 1)]
    # From above the range, so that no descriptor is overwritten before it is copied.
    high = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD_CLOEXEC, 20) for one in sockets]
    actions += [(os.POSIX_SPAWN_DUP2, one, 3 + place) for place, one in enumerate(high)]
    variables = {**ENV, "LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": "roost.socket", **environ}
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", LISTEN], variables, file_actions=actions)
    os.close(writer)
    with open(reader) as output:
        printed = output.read()
    os.waitpid(pid, 0)
    for one in high:
        os.close(one)
    *first, rest = printed.splitlines()
    assert rest == "[]", "no child may believe that it was handed a socket"
    return first


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
        one.bind(str(tmp_path / "roost.sock"))
        one.listen()
        yield one


def test_socket_that_was_handed_over(listener: socket.socket) -> None:
    assert handed(listener) == [str((3, False, listener.getsockname()))]


def test_a_socket_without_a_path_is_refused() -> None:
    """No directory guards who may connect to an abstract one, and no other roost finds it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as abstract:
        abstract.bind(f"\0roost-test-{os.getpid()}")
        abstract.listen()
        assert handed(abstract) == [
            "invalid_settings systemd handed over a socket without a path; ListenStream= must name one, and no @name"
        ]


def test_socket_for_another_process(listener: socket.socket) -> None:
    assert handed(listener, LISTEN_PID="1") == ["None"]


def test_nothing_handed_over() -> None:
    assert handed() == ["None"]
    assert handed(LISTEN_FDS="some") == ["None"]


def test_something_else_handed_over(listener: socket.socket, tmp_path: Path) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as inet,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as idle,
        open(tmp_path / "file", "w") as file,
    ):
        inet.listen()
        for wrong in (inet, idle, file):
            (told,) = handed(wrong)
            assert told.startswith("invalid_settings systemd handed over 1 descriptors, 0 of them")
        assert handed(idle, listener)[0].startswith("(4, ")
    assert "2 of them" in handed(listener, listener)[0]
