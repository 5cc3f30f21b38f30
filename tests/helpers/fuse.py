"""A file system that hangs when told so: a FUSE server of a few lines, in a process of its own, by /dev/fuse itself.

``deaf``: it takes each request and answers none, so that whoever asked waits in the kernel and no signal ends it.
``stopped``: it takes none, so that whoever asked can still be killed. Its end ends every wait with an error.
"""

import os
import select
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import pytest

from helpers import fuse_server
from helpers.fuse_server import DEVICE


class Hanging:
    """A mounted file system: a directory with the file ``data`` and the executable ``program``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self._server = subprocess.Popen(
            [sys.executable, "-S", fuse_server.__file__, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            if (heard := self._heard()) == "refused":
                pytest.skip("no file system that hangs: this host lets nobody mount one")
            assert heard == "mounted"
        except BaseException:
            self.close()
            raise

    def deaf(self) -> None:
        """From now on every request is taken and none is answered."""
        self._tell("deaf")

    def well(self) -> None:
        """Answer again, also what was asked meanwhile."""
        self._tell("well")

    def stop(self) -> None:
        """From now on no request is taken. Once stopped, it cannot be told anything."""
        self._server.send_signal(signal.SIGSTOP)

    def asked(self) -> int:
        """How many requests were taken and not answered."""
        return int(self._tell("count"))

    def abort(self) -> None:
        """Whoever waits for it gets an error: the kernel gives up what nobody serves any more."""
        self._server.kill()
        self._server.communicate()

    def close(self) -> None:
        self.abort()
        with suppress(OSError):
            fuse_server.libc("umount2", os.fsencode(self.path), fuse_server.MNT_DETACH)

    def _tell(self, word: str) -> str:
        assert self._server.stdin
        self._server.stdin.write(f"{word}\n".encode())
        self._server.stdin.flush()
        return self._heard()

    def _heard(self) -> str:
        assert self._server.stdout
        assert select.select([self._server.stdout], [], [], 30)[0], "the server of the file system does not answer"
        return self._server.stdout.readline().decode().strip()


def require() -> None:
    """Skip the test, saying why, where nothing can be mounted. With CI set what could be there must be there."""
    if os.geteuid() != 0:
        _without("only root may mount")
    if said := _forbidden():
        pytest.skip(f"no file system that hangs: this host lets nobody have its device: {said}")
    if not os.path.exists(DEVICE):
        _without(f"needs {DEVICE}; make it by `mknod {DEVICE} c 10 229`")


def _without(reason: str) -> None:
    # A machine that should be able to do this must not skip it in silence.
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no file system that hangs: {reason}")


@cache
def _forbidden() -> str:
    """Why nobody can open the device, or make and open one where it is missing; empty where it can be done."""
    try:
        if os.path.exists(DEVICE):
            os.close(os.open(DEVICE, os.O_RDWR))
        else:
            with tempfile.TemporaryDirectory(dir="/dev") as folder:
                os.mknod(f"{folder}/fuse", stat.S_IFCHR | 0o600, os.makedev(10, 229))
                os.close(os.open(f"{folder}/fuse", os.O_RDWR))
    except OSError as exc:
        return str(exc)
    return ""


@contextmanager
def hanging(path: Path) -> Generator[Hanging]:
    """Mounted at ``path``, which is made; whoever still waits for it at the end gets an error."""
    require()
    file_system = Hanging(path)
    try:
        yield file_system
    finally:
        file_system.close()
