"""A new session from the options of ``run`` and ``new``: its engine, workspace and environment."""

import os
from collections.abc import Mapping

from ..protocol.errors import InvalidParams, WorkspaceInvalid
from . import limits
from .invocation import Invocation, Record

_BASE = ("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "TMPDIR", "SSH_AUTH_SOCK")
_BASE_PREFIXES = ("LC_", "XDG_")


def create(invocation: Invocation) -> Record:
    """Make the session that the options describe.

    Raises:
        InvalidParams: ``--env`` names a variable that is not set.
        WorkspaceInvalid: the working directory is gone.
    """
    args = invocation.args
    result = invocation.call(
        "session.create",
        engine=args.engine,
        name=args.name,
        workspace=_workspace(args.directory),
        env=environment(invocation.environ, args.env),
        after=dict(args.after) or None,
        limits=limits.given(args) or None,
    )
    session: Record = result["session"]
    return session


def environment(environ: Mapping[str, str], asked: list[str]) -> dict[str, str]:
    """The base set of variables for a session's children, and those asked for as ``K=V``, or as ``K`` from ours."""
    found = {name: value for name, value in environ.items() if name in _BASE or name.startswith(_BASE_PREFIXES)}
    for word in asked:
        name, given, value = word.partition("=")
        if not given and name not in environ:
            raise InvalidParams(f"--env {name}: there is no such variable here; write --env {name}=VALUE", name=name)
        found[name] = value if given else environ[name]
    return found


def _workspace(directory: str | None) -> str:
    try:
        return os.path.abspath(directory or ".")
    except FileNotFoundError as exc:
        raise WorkspaceInvalid("the working directory is gone; name another with -C") from exc
