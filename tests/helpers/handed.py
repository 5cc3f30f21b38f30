"""A roostd as systemd starts it: it is handed its socket, and heard."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

from helpers.daemon import DEADLINE, Daemon

_SCRIPT = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid());"
    "os.environ['LISTEN_FDS'] = '1'; os.execv(sys.executable, [sys.executable, '-m', 'roost.daemon'])"
)


@contextlib.contextmanager
def notified(path: Path) -> Generator[socket.socket]:
    """Where systemd listens: what is read from it is what was said to NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(path))
        notify.settimeout(DEADLINE)
        yield notify


def _heard(notify: socket.socket) -> bytes:
    with contextlib.suppress(TimeoutError):
        return notify.recv(4096)
    return b""


@contextlib.contextmanager
def handed(daemon: Daemon) -> Generator[subprocess.Popen[bytes]]:
    """roostd on the state directory of ``daemon``, once it has said that it is ready; ``daemon`` calls it."""
    daemon.socket = daemon.state.parent / "handed.sock"
    notify_path = daemon.state.parent / "notify"
    with socket.socket(socket.AF_UNIX) as listener, notified(notify_path) as notify, daemon.log.open("ab") as log:
        listener.bind(str(daemon.socket))
        listener.listen(10)
        process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", _SCRIPT, str(listener.fileno())],
            env={**daemon.environ, "NOTIFY_SOCKET": str(notify_path), "ROOST_SOCKET": str(daemon.socket)},
            pass_fds=[listener.fileno()],
            stderr=log,
        )
        try:
            assert _heard(notify).startswith(b"READY=1"), daemon.log.read_text()
            yield process
        finally:
            process.kill()
            process.wait()
            os.unlink(notify_path)
