"""A file system that hangs when told so: a FUSE server of a few lines, in a process of its own, by /dev/fuse itself.

``deaf``: it takes each request and answers none, so that whoever asked waits in the kernel and no signal ends it.
``stopped``: it takes none, so that whoever asked can still be killed. Its end ends every wait with an error.
"""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from helpers import fuse_server


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
                pytest.skip("nothing may be mounted in this container")
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


def why_not() -> str | None:
    """The reason why nothing can be mounted here, or None."""
    if os.geteuid():
        return "only root may mount"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "there is no /dev/fuse in this container"
    return None


@contextmanager
def hanging(path: Path) -> Generator[Hanging]:
    """Mounted at ``path``, which is made; whoever still waits for it at the end gets an error."""
    if reason := why_not():
        pytest.skip(reason)
    file_system = Hanging(path)
    try:
        yield file_system
    finally:
        file_system.close()
