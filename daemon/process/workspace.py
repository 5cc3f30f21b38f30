"""The directory that a child works in, looked at without trusting the file system to answer."""

import os

import trio

from ...protocol.errors import WorkspaceInvalid
from ..waiting.patience import Patience


async def canonical(path: str, *, files: Patience, deadline: float) -> str:
    """``path`` without symbolic links; it is a directory that can be entered.

    Args:
        deadline: seconds that its file system has to answer.

    Raises:
        WorkspaceInvalid: names the path and the reason.
    """
    try:
        return await files.call(path, lambda: _canonical(path), deadline)
    except trio.TooSlowError:
        raise _invalid(path, f"its file system did not answer within {deadline:g} s") from None


def _canonical(path: str) -> str:
    if not path.startswith("/"):
        raise _invalid(path, "it is not absolute")
    try:
        real = os.path.realpath(path, strict=True)
        real.encode()
        searchable = os.path.isdir(real) and os.access(real, os.X_OK)
    except UnicodeEncodeError as error:
        raise _invalid(path, "it is not UTF-8") from error
    except (OSError, ValueError) as error:
        raise _invalid(path, getattr(error, "strerror", None) or str(error)) from error
    if not searchable:
        raise _invalid(path, "it may not be entered" if os.path.isdir(real) else "it is not a directory")
    return real


def _invalid(path: str, reason: str) -> WorkspaceInvalid:
    # Only UTF-8 can be sent.
    shown = path.encode(errors="backslashreplace").decode()
    text = f"the workspace {shown} cannot be used: {reason}; name another directory"
    return WorkspaceInvalid(text, workspace=shown, reason=reason)
