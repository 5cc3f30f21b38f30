"""Reach the daemon, and start one, fully detached, where none runs. Two at once start one: the lock decides."""

import os
import sys
import time
from collections.abc import Mapping

from ..protocol.errors import ERRORS, DaemonUnreachable, StateDirectoryUnusable
from ..protocol.paths import Paths
from .connection import Connection
from .frames import nobody
from .paths import DAEMON_VARIABLE, elsewhere, find

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    import subprocess

START_SECONDS = 15.0
LOCK_HELD = 11
"""The exit status of a roostd that finds the state directory locked by another."""

_POLL_SECONDS = 0.02
_AGAIN_SECONDS = 0.5
"""After what another one that holds the lock, and does not listen, is taken to be about to end."""
_LOG_BYTES = 4 * 1024 * 1024
_INHERITED_BY_CHANCE = (
    # An agent that starts a daemon must not hand it the mark that its own daemon ends strays by,
    DAEMON_VARIABLE,
    *("ROOST_SESSION", "ROOST_CHILD"),
    # and what systemd said to somebody else is not meant for roostd.
    *("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "INVOCATION_ID"),
    *("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CONFIGURATION_DIRECTORY", "CREDENTIALS_DIRECTORY", "JOURNAL_STREAM"),
)


def reach(environ: Mapping[str, str], *, start: bool) -> Connection:
    """A connection to the daemon that ``environ`` means; it is started if it does not run and ``start`` says so.

    Raises:
        DaemonUnreachable: none runs and none was started, or the one started ended or did not greet in time.
    """
    paths, startable = find(environ)
    try:
        return connect(paths)
    except DaemonUnreachable as exc:
        if not (start and startable and nobody(exc)):
            raise
    deadline = time.monotonic() + START_SECONDS
    while True:
        if (connection := _start(paths, environ, deadline)) is not None:
            return connection


def connect(paths: Paths) -> Connection:
    """A connection to a daemon that runs: at its expected socket, or where its lock says it listens."""
    try:
        return Connection(paths.socket)
    except DaemonUnreachable:
        other = elsewhere(paths)
        if other is None:
            raise
    return Connection(other)


def command() -> list[str]:
    """What starts roostd: this interpreter, with nothing of the working directory on its path."""
    return [sys.executable, "-P", "-m", "roost.daemon"]


def cleaned(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` as a daemon may have it."""
    return {name: value for name, value in environ.items() if name not in _INHERITED_BY_CHANCE}


def _start(paths: Paths, environ: Mapping[str, str], deadline: float) -> Connection | None:
    """Start one; None: another one has held the lock for a while, and may have ended since."""
    import subprocess  # 2 ms, and most calls find a daemon

    log = f"{paths.state}/roostd.log"
    begin = _prepare(paths.state, log)
    # In its own session nothing of this terminal reaches it; it outlives this process as a child of init.
    with open(log, "ab") as stderr:
        process = subprocess.Popen(
            command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            cwd="/",
            env=cleaned(environ),
            start_new_session=True,
        )
    try:
        return _greeted(paths, process, deadline, log, begin)
    finally:
        process.returncode = process.returncode or 0  # it is not ours to wait for


def _greeted(
    paths: Paths, process: "subprocess.Popen[bytes]", deadline: float, log: str, begin: int
) -> Connection | None:
    again = deadline
    while True:
        status = process.poll()
        try:
            return connect(paths)
        except DaemonUnreachable as exc:
            # 11 is no failure yet: the winner of the lock may be about to listen.
            if status not in (None, LOCK_HELD) or time.monotonic() > deadline:
                raise _not_started(paths, status, _last_line(log, begin), log) from exc
            if status is not None:
                again = min(again, time.monotonic() + _AGAIN_SECONDS)
            if time.monotonic() > again:
                return None
        time.sleep(_POLL_SECONDS)


def _not_started(paths: Paths, status: int | None, line: str, log: str) -> DaemonUnreachable:
    what = "roostd was started and does not answer" if status is None else f"roostd ended with exit status {status}"
    if status == LOCK_HELD:
        what = f"another daemon holds {paths.lock} and does not answer at {paths.socket}; it may be stopping"
    text = f"{what}: {line or 'it said nothing'}; see {log}"
    cause = next((part for part in line.split(": ") if part in ERRORS), None)  # roostd's own name for it
    return DaemonUnreachable(text, path=paths.socket, status=status, cause=cause, log=log)


def _prepare(state: str, log: str) -> int:
    """Make the state directory, keep its log short, and say how long the log is now, in bytes."""
    try:
        os.makedirs(state, mode=0o700, exist_ok=True)
        if os.path.exists(log) and os.path.getsize(log) > _LOG_BYTES:
            os.replace(log, log + ".1")
        with open(log, "ab", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            return file.tell()
    except OSError as exc:
        text = f"the state directory {state} cannot be used ({exc.strerror}); name another with --state"
        raise StateDirectoryUnusable(text, path=state) from exc


def _last_line(log: str, begin: int) -> str:
    with open(log, "rb") as file:
        file.seek(begin)
        lines = file.read()[-4096:].decode("utf-8", "replace").split("\n")
    # The last frame of a drawn traceback is no word.
    return next((line.strip(" |") for line in reversed(lines) if any(map(str.isalpha, line))), "")
