"""Where the state directory and the socket are: one answer for daemon and clients.

Pure: an environment goes in, paths come out; nothing is looked at on disk.
"""

from __future__ import annotations

from collections.abc import Mapping

from .errors import InvalidSettings, SocketPathTooLong
from .record import Record

SOCKET_BYTES = 107
"""Bytes of the longest socket path that the kernel takes."""
STATE_VARIABLE = "ROOST_STATE_DIRECTORY"
SOCKET_VARIABLE = "ROOST_SOCKET"


class Paths(Record):
    """Where a daemon is.

    Attributes:
        state: the state directory. socket: where the daemon listens.
        lock: a file of one line of JSON, ``{"pid": …, "socket": …}``, that the daemon writes under its flock.
        named: the caller named the socket itself, so no other path may stand in for it.
    """

    __slots__ = __match_args__ = ("state", "socket", "lock", "named")

    def __init__(self, state: str, socket: str, lock: str, named: bool) -> None:
        self.state = state
        self.socket = socket
        self.lock = lock
        self.named = named


def resolve(
    environ: Mapping[str, str], *, state: str | None = None, socket: str | None = None, service: bool = False
) -> Paths:
    """The paths that ``environ`` means, unless ``state`` or ``socket`` (absolute paths) say otherwise.

    A state directory that was named has its socket inside, so that a temporary one never meets the user's daemon.

    Args:
        service: this is the daemon itself: systemd's STATE_DIRECTORY and RUNTIME_DIRECTORY are meant for it.

    Raises:
        InvalidSettings: neither HOME nor any variable says where the state directory is, or a path is not UTF-8.
        SocketPathTooLong: the kernel does not take the socket's path.
    """
    named_state = state or at_home(environ.get(STATE_VARIABLE, ""), environ)
    named_socket = socket or at_home(environ.get(SOCKET_VARIABLE, ""), environ)
    # A client that was told the socket needs no state directory, and may have no HOME: beside the socket will do.
    beside = named_socket.rpartition("/")[0] if named_socket and not service else ""
    directory = named_state or _state(environ, service) or beside
    if not directory:
        raise InvalidSettings(f"HOME is not set; name a state directory in {STATE_VARIABLE}", variable="HOME")
    directory = directory.rstrip("/") or "/"
    path = named_socket or _socket(environ, directory, inside=bool(named_state), service=service)
    for given, variable in ((directory, STATE_VARIABLE), (path, SOCKET_VARIABLE)):
        _check(given, variable)
    if len(path.encode()) > SOCKET_BYTES:
        text = f"the socket path {path} is longer than {SOCKET_BYTES} bytes; name a shorter one in {SOCKET_VARIABLE}"
        raise SocketPathTooLong(text, path=path, limit=SOCKET_BYTES)
    return Paths(directory, path, f"{directory}/lock", bool(named_socket))


def at_home(path: str, environ: Mapping[str, str]) -> str:
    """``path``, with a ``~`` that no shell has put in place."""
    return environ.get("HOME", "") + path[1:] if path.startswith("~/") else path


def _check(path: str, variable: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        text = f"the path {path!a} is not UTF-8, so no message can name it; name another in {variable}"
        raise InvalidSettings(text, variable=variable) from None


def _state(environ: Mapping[str, str], service: bool) -> str:
    if service and (given := _first(environ, "STATE_DIRECTORY")):
        return given
    if base := _absolute(environ, "XDG_STATE_HOME"):
        return f"{base}/roost"
    if home := _absolute(environ, "HOME"):
        return f"{home}/.local/state/roost"
    return ""


def _socket(environ: Mapping[str, str], state: str, *, inside: bool, service: bool) -> str:
    if not inside:
        if service and (given := _first(environ, "RUNTIME_DIRECTORY")):
            return f"{given}/roost.sock"
        if base := _absolute(environ, "XDG_RUNTIME_DIR"):
            return f"{base}/roost/roost.sock"
    return f"{state}/run/roost.sock"


def _first(environ: Mapping[str, str], name: str) -> str:
    """The first of the directories that systemd lists, parted by colons."""
    return environ.get(name, "").partition(":")[0].rstrip("/")


def _absolute(environ: Mapping[str, str], name: str) -> str:
    """A base directory; as its specification asks, a relative one counts as not set."""
    value = environ.get(name, "")
    return value.rstrip("/") if value.startswith("/") else ""
