"""The command ``roost`` as a person or a script uses it, against a daemon of a test."""

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from typing import NamedTuple

from helpers.daemon import DEADLINE, Daemon
from helpers.engines import engines
from helpers.worker_driver import script

INTENSITY = 2
SETTINGS = engines(
    f"""
[sessions]
restart_intensity = {INTENSITY}
[engines.dies]
command = ["sh", "-c", "while [ -e hold ]; do sleep 0.01; done; exit 1"]
[engines.lossy]
kind = "worker"
command = {json.dumps(script("unsavable"))}
[engines.narrow]
command = ["sh", "-c", "ulimit -n"]
kind = "command"
prompt = "stdin"
nofile = 60
"""
)
"""Of the daemon that the tests of the commands share."""
_COMMAND = [sys.executable, "-m", "roost.client"]
_ON_TERMINAL = """
import fcntl, sys, termios
from roost.client.cli import main
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
sys.exit(main())
"""


class Done(NamedTuple):
    """What came of a command."""

    status: int
    out: str
    err: str


class Roost:
    """``roost(...)`` runs the command to its end; ``with roost.started(...)`` runs it beside the test."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.environ = {**daemon.environ, "ROOST_NO_START": "1", "TERM": "xterm", "COLUMNS": "200"}
        for name in ("NO_COLOR", "EDITOR", "VISUAL"):
            self.environ.pop(name, None)

    def __call__(self, *argv: str, stdin: str | bytes = "", **environ: str) -> Done:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [*_COMMAND, *argv],
            input=data,
            capture_output=True,
            env=self.environ | environ,
            cwd=self.daemon.workspace,
            timeout=DEADLINE,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    @contextlib.contextmanager
    def started(
        self, *argv: str, terminal: bool = False, program: str = _ON_TERMINAL, **environ: str
    ) -> Generator["Started"]:
        """``program``: what is run on a terminal, in Python."""
        started = Started([*argv], program if terminal else "", self.environ | environ, str(self.daemon.workspace))
        try:
            yield started
        finally:
            started.close()


class Started:
    """A command that runs.

    Attributes:
        out: what it printed so far; on a terminal, stderr too.
    """

    def __init__(self, argv: list[str], program: str, environ: dict[str, str], cwd: str) -> None:
        self.out = ""
        self._err = tempfile.TemporaryFile("w+")
        if program:
            self._reads, inner = pty.openpty()
            self._writes = self._reads
            command, streams = [sys.executable, "-c", program, *argv], (inner, inner, inner)
        else:
            self._reads, out = os.pipe()
            into, self._writes = os.pipe()
            command, streams = [*_COMMAND, *argv], (into, out, self._err.fileno())
        self.process = subprocess.Popen(
            command,
            stdin=streams[0],
            stdout=streams[1],
            stderr=streams[2],
            env=environ,
            cwd=cwd,
            start_new_session=True,
        )
        for inner in {*streams} - {self._err.fileno()}:
            os.close(inner)

    def expect(self, text: str) -> str:
        """Wait until ``text`` was printed; all that was printed up to and with it, which is then forgotten."""
        end = time.monotonic() + DEADLINE
        while text not in self.out:
            if not self._read(end - time.monotonic()):
                raise AssertionError(f"{text!r} was not printed; this was:\n{self.out}")
        before, _, self.out = self.out.partition(text)
        return before + text

    def rest(self) -> str:
        """All that it prints until its end."""
        end = time.monotonic() + DEADLINE
        while self._read(end - time.monotonic()):
            pass
        return self.out

    def type(self, text: str) -> None:
        os.write(self._writes, text.encode())

    def close_stdin(self) -> None:
        if self._writes != self._reads and self._writes >= 0:
            os.close(self._writes)
            self._writes = -1

    def interrupt(self) -> None:
        """Ctrl-C, without a terminal."""
        self.process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """Its exit status."""
        return self.process.wait(DEADLINE)

    def stop_reading(self) -> None:
        """Close the pipe that it prints into."""
        os.close(self._reads)
        self._reads = -1

    def err(self) -> str:
        """What it printed on stderr, which is no terminal."""
        self._err.seek(0)
        return self._err.read()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(DEADLINE)
        self.close_stdin()
        self._err.close()
        if self._reads >= 0:
            self.stop_reading()

    def _read(self, timeout: float) -> bool:
        if not select.select([self._reads], [], [], max(timeout, 0))[0]:
            return False
        try:
            data = os.read(self._reads, 65_536)
        except OSError:  # a terminal whose other end is closed
            data = b""
        self.out += data.decode("utf-8", "replace")
        return bool(data)
