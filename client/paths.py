"""Which daemon is meant: options, the environment, or what a daemon wrote into its lock."""

import os
from collections.abc import Mapping

from ..protocol.errors import InvalidSettings
from ..protocol.paths import SOCKET_VARIABLE, STATE_VARIABLE, Paths, at_home, resolve

DAEMON_VARIABLE = "ROOST_DAEMON"
"""The socket of the daemon that a session belongs to, in the environment of its child."""


def with_options(environ: Mapping[str, str], *, state: str | None, socket: str | None) -> dict[str, str]:
    """``environ`` with what was named by options, as absolute paths: a daemon started from it sees the same.

    Raises:
        InvalidSettings: one is relative, and the working directory is gone.
    """
    named = dict(environ)
    for variable, option in ((STATE_VARIABLE, state), (SOCKET_VARIABLE, socket)):
        if path := option or environ.get(variable):
            try:
                named[variable] = os.path.abspath(at_home(path, environ))
            except FileNotFoundError as exc:
                text = f"{path} is relative, and the working directory is gone; name an absolute path"
                raise InvalidSettings(text, variable=variable, path=path) from exc
    return named


def find(environ: Mapping[str, str]) -> tuple[Paths, bool]:
    """The paths of the daemon that is meant, and whether one may be started there.

    Inside a session it is that session's daemon, unless another was named; none is started in its place.

    Raises:
        InvalidSettings, SocketPathTooLong: as :func:`roost.protocol.paths.resolve` does.
    """
    inherited = environ.get(DAEMON_VARIABLE)
    if inherited and not environ.get(SOCKET_VARIABLE) and not environ.get(STATE_VARIABLE):
        return resolve(environ, socket=inherited), False
    return resolve(environ), True


def elsewhere(paths: Paths) -> str | None:
    """Another socket to try, as a daemon last wrote it into its lock; None if there is none or one was named."""
    import json

    try:
        with open(paths.lock, encoding="utf-8") as file:
            socket = json.load(file)["socket"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return socket if isinstance(socket, str) and socket != paths.socket and not paths.named else None
