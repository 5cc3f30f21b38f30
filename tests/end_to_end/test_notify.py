"""What systemd hears of a stop that takes its time."""

import os
import signal
import socket
from collections.abc import Iterator
from itertools import islice, takewhile
from pathlib import Path

import pytest

from helpers.daemon import Daemon, wait_until
from helpers.engines import engines
from helpers.handed import notified

EXTENDED = "EXTEND_TIMEOUT_USEC=10000000"


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with notified(tmp_path / "notify") as notify:
        yield notify


def heard(systemd: socket.socket) -> Iterator[str]:
    """One assignment after the other; several may come in one message."""
    while True:
        yield from systemd.recv(4096).decode().splitlines()


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_stop_says_that_it_has_begun_and_asks_for_more_time_while_it_goes_on(
    tmp_path: Path, systemd: socket.socket
) -> None:
    """systemd's stop clock runs since STOPPING=1. The worker hands its state over only when that clock was extended."""
    daemon = Daemon(tmp_path / "s", engines(), NOTIFY_SOCKET=str(tmp_path / "notify"))
    try:
        session = daemon.start().create("odd")
        daemon.run(session, "stop")  # it stops itself with SIGSTOP after its answer
        worker = daemon.session(session)["pid"]
        wait_until(lambda: stopped(worker), "it hears nothing")
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGTERM)
        said = heard(systemd)
        before = list(takewhile(lambda line: line != "STOPPING=1", said))
        assert "READY=1" in before and EXTENDED not in before
        more = (line for line in said if line == EXTENDED)
        assert len(list(islice(more, 3))) == 3, "again and again"
        os.kill(worker, signal.SIGCONT)
        assert daemon.process.wait(30) == 0
    finally:
        daemon.close()
