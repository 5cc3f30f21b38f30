"""The stderr of the children of each session, in rotated files below the state directory.

A file's name is the offset at which it begins: bytes since the session was made. So the offset outlives rotation,
children and daemons, and nothing has to be remembered.
"""

import logging
import os
import shutil
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar

import trio

from ...protocol.errors import StorageFailed, TimedOut
from ...protocol.methods import SessionStderrResult
from ..waiting.deadline import in_thread

FILE_BYTES = 1024 * 1024
"""A file with so many bytes is followed by another file."""
FILES = 2
"""The newest files of a session; older ones are removed."""
WRITING = 5.0
"""Seconds a piece may take to be written; then the files are given up for that child."""
READING = 10.0
"""Seconds a read or a removal may take."""
AT_ONCE = 8
"""Threads that write, and as many that read: a disk that hangs stops these and nothing else."""

log = logging.getLogger(__name__)

T = TypeVar("T")
Keep = Callable[[bytes], Awaitable[None]]
"""Takes a piece of one child's stderr; returns when it is kept, or given up. Never raises."""


class _File(NamedTuple):
    path: Path
    start: int
    end: int


class StderrFiles:
    """The files of all sessions of one state directory. No descriptor stays open between two pieces.

    Args:
        directory: made when the first piece is kept.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._writers = trio.CapacityLimiter(AT_ONCE)
        self._readers = trio.CapacityLimiter(AT_ONCE)

    def keeper(self, session: str) -> Keep:
        """A place for the stderr of one child of ``session``.

        A reader that gives it the next piece when it has returned slows the child by the child's own pipe. A disk that
        is full or hangs costs that child its files, which is said once in the log.
        """
        directory = self._directory / session
        end, lost = 0, False

        async def keep(piece: bytes) -> None:
            nonlocal end, lost
            if lost:
                return
            lost = True  # also if this task is cancelled: the thread may still write
            late = _late(f"the disk did not take it within {WRITING:g} s")
            try:
                append = partial(_append, directory, piece, end)
                end = await in_thread(append, within=WRITING, otherwise=late, limiter=self._writers)
                lost = False
            except OSError as error:
                why = _reason(error)
                log.warning("session %s: no more stderr of its child is kept in %s: %s", session, directory, why)

        return keep

    async def read(self, session: str, offset: int | None, limit: int) -> SessionStderrResult:
        """At most ``limit`` bytes of it from ``offset``, or from where the kept part begins; None: the last ones.

        Raises:
            StorageFailed, TimedOut
        """
        directory = self._directory / session

        def late() -> NoReturn:
            text = f"what session {session} wrote to stderr was not read within {READING:g} s; look at the disk"
            raise TimedOut(text, path=str(directory))

        read = partial(_read, directory, offset, limit)
        try:
            return await in_thread(read, within=READING, otherwise=late, limiter=self._readers)
        except OSError as error:
            text = f"what session {session} wrote to stderr cannot be read from {directory}: {_reason(error)}"
            raise StorageFailed(f"{text}; look at that directory", path=str(directory)) from error

    async def sessions(self) -> list[str]:
        """The sessions of which something is kept."""
        return await self._bounded(_names, self._directory) or []

    async def remove(self, session: str) -> None:
        """Remove the files of a session. A failure is said in the log, and the sweeper tries again."""
        await self._bounded(_remove, self._directory / session)

    async def _bounded(self, job: Callable[[Path], T], path: Path) -> T | None:
        late = _late(f"the disk did not answer within {READING:g} s")
        try:
            return await in_thread(partial(job, path), within=READING, otherwise=late, limiter=self._readers)
        except OSError as error:
            log.warning("kept stderr in %s: %s", path, _reason(error))
            return None


def _late(why: str) -> Callable[[], NoReturn]:
    def raise_late() -> NoReturn:
        raise OSError(why)

    return raise_late


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


# --- the work of the threads ---


def _append(directory: Path, piece: bytes, known: int) -> int:
    """Add ``piece`` behind what is kept; its end. An offset below ``known`` was given out, files removed or not."""
    for place in (directory.parent, directory):
        place.mkdir(mode=0o700, exist_ok=True)
    files = _files(directory)
    end = max([known, *(file.end for file in files)])
    if not files or files[-1].end < end or end - files[-1].start >= FILE_BYTES:
        files.append(_File(directory / f"{end:015}.log", end, end))
    for old in files[:-FILES]:
        old.path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(files[-1].path, flags, 0o600)
    try:
        left = memoryview(piece)
        while left:
            left = left[os.write(descriptor, left) :]
    finally:
        os.close(descriptor)
    return end + len(piece)


def _read(directory: Path, offset: int | None, limit: int) -> SessionStderrResult:
    while True:
        try:
            return _page(_files(directory), offset, limit)
        except FileNotFoundError:
            continue  # it was rotated away: what is there now?


def _page(files: Sequence[_File], offset: int | None, limit: int) -> SessionStderrResult:
    end = files[-1].end if files else 0
    begin = max(end - limit, 0) if offset is None else offset
    there = [file for file in files if file.end > begin]
    start = max(begin, there[0].start) if there else end
    data = _bytes(there, start, limit)
    return SessionStderrResult(data=data, offset=start, next=start + len(data), bytes=end)


def _files(directory: Path) -> list[_File]:
    """Oldest first."""
    files: list[_File] = []
    with suppress(FileNotFoundError), os.scandir(directory) as entries:
        for entry in entries:
            name, _, kind = entry.name.partition(".")
            if kind == "log" and name.isdecimal():
                with suppress(FileNotFoundError):
                    files.append(_File(Path(entry.path), int(name), int(name) + entry.stat().st_size))
    return sorted(files, key=lambda file: file.start)


def _bytes(files: Sequence[_File], start: int, count: int) -> bytes:
    """At most ``count`` bytes from ``start``, which is in the first of ``files``; up to the first gap between two."""
    data = b""
    for file in files:
        if file.start > start + len(data):
            break
        with open(file.path, "rb") as opened:
            opened.seek(start + len(data) - file.start)
            data += opened.read(min(count - len(data), file.end - start - len(data)))
    return data


def _names(directory: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return [name for name in os.listdir(directory) if name.startswith("s-")]
    return []


def _remove(directory: Path) -> None:
    with suppress(FileNotFoundError):
        shutil.rmtree(directory)
