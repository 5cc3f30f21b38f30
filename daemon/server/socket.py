"""The Unix socket: bound safely, and the process at its other end."""

import errno
import os
import socket
import stat
import struct
from pathlib import Path
from typing import NamedTuple

from ...protocol.errors import SocketInUse, SocketPathTooLong, StateDirectoryUnusable

MAX_PATH = 107
"""Bytes: ``sun_path`` without its closing zero."""
BACKLOG = 512

_CREDENTIALS = struct.Struct("iII")


class Peer(NamedTuple):
    """A process as the kernel knew it when it connected."""

    pid: int
    uid: int
    gid: int


def peer_of(sock: socket.socket) -> Peer:
    """The process that connected.

    Raises:
        OSError: the socket is no Unix socket.
    """
    return Peer(*_CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)))


def bind(path: str | Path, mode: int = 0o600) -> socket.socket:
    """A listening socket at ``path``; its directory is made if need be. A dead daemon's socket is replaced.

    Args:
        mode: of the socket. If it lets others in, they may also see its directory, but not write to it.

    Raises:
        SocketPathTooLong: the kernel takes 107 bytes.
        StateDirectoryUnusable: the directory is open to others, not ours, or cannot be made.
        SocketInUse: a live daemon listens there, or a file that is no socket stands there.
    """
    name = os.fspath(path)
    size = len(os.fsencode(name))
    if size > MAX_PATH:
        text = f"the socket's path {name} has {size} bytes and the system takes {MAX_PATH}; choose a shorter one"
        raise SocketPathTooLong(text, path=name, bytes=size, limit=MAX_PATH)
    _private_directory(Path(name).parent, forbidden=0o022 if mode & 0o077 else 0o077)
    try:
        _clear(name)
        return _listening(name, mode)
    except OSError as exc:
        raise _unusable(name, f"cannot be listened on: {exc.strerror}") from exc


def _listening(path: str, mode: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # Set before bind, the mode is the file's from its first moment (less the umask).
        os.fchmod(sock.fileno(), mode)
        sock.bind(path)
        os.chmod(path, mode)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _private_directory(directory: Path, forbidden: int) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.stat()
    except OSError as exc:
        raise _unusable(str(directory), f"cannot be made: {exc.strerror}") from exc
    if found.st_uid not in (os.geteuid(), 0):
        raise _unusable(str(directory), f"belongs to uid {found.st_uid}")
    if found.st_mode & forbidden:
        mode = stat.S_IMODE(found.st_mode)
        raise _unusable(str(directory), f"is open to others (mode {mode:04o}): run chmod {mode & ~forbidden:o} on it")


def _clear(path: str) -> None:
    """Remove the socket of a daemon that is gone, and nothing else."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketInUse(f"{path} exists and is not a socket; move it away or choose another path", path=path)
    if listened_on(path):
        raise SocketInUse(f"another process listens on {path}; stop it or choose another path", path=path)
    os.unlink(path)


def listened_on(path: str) -> bool:
    """Whether a process listens on the socket at ``path``. Blocking, for as long as its file system does not answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        # All but a refusal (a full backlog, no permission) means that a process is there.
        return probe.connect_ex(path) not in (errno.ECONNREFUSED, errno.ENOENT)


def _unusable(path: str, problem: str) -> StateDirectoryUnusable:
    text = f"the place of the socket, {path}, {problem}; choose another with the setting `socket`"
    return StateDirectoryUnusable(text, path=path)
