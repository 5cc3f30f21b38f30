"""The state directory: made for this user alone, locked by one daemon, and watched for being replaced underneath."""

import fcntl
import json
import os
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from ..protocol.errors import DaemonRunning, StateDirectoryUnusable
from .settings import Settings

Identity = tuple[int, int] | None
"""Device and inode of a path; None: nothing is there."""


class Place:
    """A locked state directory. Everything here is blocking.

    Attributes:
        state_directory: absolute.
        database, wal: where the store and its write-ahead log are, whether or not they were made yet.
    """

    def __init__(self, state_directory: Path, lock: int) -> None:
        self.state_directory = state_directory
        self.database = state_directory / "roost.db"
        self.wal = state_directory / "roost.db-wal"
        self._marker = state_directory / "used"
        self._lock = lock
        self._watched: dict[Path, Identity] = {}
        self.watch(state_directory / "lock")

    @classmethod
    def take(cls, settings: Settings) -> "Place":
        """Make the state directory if it is missing, and lock it; the kernel takes the lock back if we die.

        Raises:
            StateDirectoryUnusable: not a directory, not writable, or somebody else's.
            DaemonRunning: another daemon has it.
        """
        directory = settings.daemon.state_directory
        with _usable(directory):
            _prepare(directory)
            lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with _usable(directory):
                _lock(lock, directory)
                _write(lock, {"pid": os.getpid(), "socket": str(settings.daemon.socket)})
        except BaseException:
            os.close(lock)
            raise
        return cls(directory, lock)

    @property
    def used(self) -> bool:
        """This directory has held a database before."""
        return self._marker.exists()

    def mark_used(self) -> None:
        """A store was opened here; one that is missing from now on is lost, not new."""
        with _usable(self.state_directory):
            os.close(os.open(self._marker, os.O_CREAT | os.O_CLOEXEC, 0o600))
            directory = os.open(self.state_directory, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    def watch(self, *paths: Path) -> None:
        """From now on ``paths`` must stay the files that they are."""
        self._watched |= {path: _identity(path) for path in paths}

    def identities(self) -> dict[Path, Identity]:
        """What the watched paths are now."""
        return {path: _identity(path) for path in self._watched}

    def same(self, path: Path) -> bool:
        """Whether a watched path is the file that it was."""
        return _identity(path) == self._watched[path]

    def changed(self) -> str | None:
        """The first watched path that is gone or another file; None: all are what they were."""
        return next((str(path) for path, now in self.identities().items() if now != self._watched[path]), None)

    def watch_on(self, period: float, changed: Callable[[str], None]) -> Event:
        """Look each ``period`` seconds, until something has changed or the event is set that is returned.

        In a thread, which may hang in a look, and wakes as often as the loop would. It calls ``changed``.
        """
        over = Event()

        def look() -> None:
            while not over.is_set():
                if (path := self.changed()) and not over.is_set():
                    return changed(path)
                over.wait(period)

        Thread(target=look, name="roost-files", daemon=True).start()
        return over

    def release(self) -> None:
        """Give the directory to the next daemon. May be repeated."""
        if self._lock >= 0:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = -1


@contextmanager
def _usable(directory: Path) -> Generator[None]:
    """The border where an OSError becomes ours."""
    try:
        yield
    except OSError as error:
        raise _unusable(directory, error.strerror or str(error)) from error


def _unusable(directory: Path, reason: str) -> StateDirectoryUnusable:
    text = f"the state directory {directory} cannot be used: {reason}; name another in ROOST_STATE_DIRECTORY"
    return StateDirectoryUnusable(text, path=str(directory), reason=reason)


def _prepare(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise _unusable(directory, "it is not a directory") from None
    found = directory.stat()
    if found.st_uid != os.geteuid():
        raise _unusable(directory, f"it belongs to user {found.st_uid}")
    if stat.S_IMODE(found.st_mode) != 0o700:
        directory.chmod(0o700)


def _lock(lock: int, directory: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = _holder(lock)
        text = f"roostd (pid {pid or 'unknown'}) already runs on {directory}; use it, or stop it first"
        raise DaemonRunning(text, pid=pid, path=str(directory)) from None


def _holder(lock: int) -> int | None:
    """The pid that the other daemon wrote; None while it has not."""
    try:
        pid = json.loads(os.pread(lock, 4096, 0).partition(b"\n")[0])["pid"]
    except (ValueError, LookupError, TypeError):
        return None
    return pid if isinstance(pid, int) else None


def _write(lock: int, line: dict[str, object]) -> None:
    data = json.dumps(line).encode() + b"\n"
    # In this order a reader always finds one whole first line.
    os.pwrite(lock, data, 0)
    os.ftruncate(lock, len(data))


def _identity(path: Path) -> Identity:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
