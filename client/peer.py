"""Who listens: a client hands prompts and its environment to nobody but its own user, root, and those it trusts."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from ..protocol.errors import InvalidSettings, PeerUntrusted

VARIABLE = "ROOST_TRUSTED_UIDS"
"""More users whose daemons this client speaks with: numbers or names, with commas between them."""
CREDENTIALS = 12
"""Bytes of a ``struct ucred``, which SO_PEERCRED gives: pid, uid and gid (unix(7))."""


def check(credentials: bytes, path: str, environ: Mapping[str, str] = os.environ) -> None:
    """Whether the peer may be spoken with, before a word is said to it.

    Args:
        credentials: the peer's. path: of the socket that it listens on.

    Raises:
        PeerUntrusted: the socket's directory is, or its listener runs as, somebody else's.
        InvalidSettings: ROOST_TRUSTED_UIDS names a user that there is not.
    """
    trusted = {0, os.geteuid(), *_named(environ)}
    uid = int.from_bytes(credentials[4:8], sys.byteorder)
    if uid not in trusted:
        raise _untrusted(f"the process that listens at {path} runs as uid {uid}", uid, path)
    directory = os.path.dirname(path) or "."
    if (owner := os.stat(directory).st_uid) not in trusted:
        raise _untrusted(f"{directory}, where the socket {path} stands, belongs to uid {owner}", owner, path)


def _untrusted(what: str, uid: int, path: str) -> PeerUntrusted:
    text = f"{what}, which is neither you nor root: nothing was said to it"
    return PeerUntrusted(f"{text}; name another socket, or trust that user with {VARIABLE}={uid}", uid=uid, path=path)


def _named(environ: Mapping[str, str]) -> set[int]:
    return {_uid(name.strip()) for name in environ.get(VARIABLE, "").split(",") if name.strip()}


def _uid(name: str) -> int:
    if name.isdecimal():
        return int(name)
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        text = f"{VARIABLE} names {name!r}, and there is no such user; give numbers or names of users"
        raise InvalidSettings(text, variable=VARIABLE, user=name) from None
