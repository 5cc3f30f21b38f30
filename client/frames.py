"""PURE: what both clients say and how they take it: requests within the daemon's limits, the greeting, its failures."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from .. import __version__
from ..protocol import rpc
from ..protocol.errors import (
    ConnectionLost,
    DaemonUnreachable,
    FrameTooLarge,
    InvalidParams,
    LocalProtocolError,
    ProtocolMismatch,
    ProtocolViolation,
)

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    from typing import Any

PROTOCOL = 1
"""The version of the protocol that this side speaks."""
_NOBODY = (errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED, errno.ECONNRESET)


def request(msgid: int, method: str, params: dict[str, Any], limits: Mapping[str, int]) -> bytes:
    """The bytes of a request.

    Raises:
        InvalidParams, FrameTooLarge: it is not UTF-8, or over the limits that the daemon's greeting gave.
    """
    _check_prompt(params, limits)
    if (nesting := limits.get("nesting")) is not None:
        try:
            rpc.check_nesting(params, nesting, within=2)  # they stand in two arrays
        except ProtocolViolation as exc:
            raise InvalidParams(f"{method}: {exc.message}", method=method, **exc.data) from exc
    try:
        frame = rpc.request(msgid, method, params)
    except LocalProtocolError as exc:
        text = f"{method}: {_culprit(params)} {exc}; give UTF-8 text and numbers below 2**64"
        raise InvalidParams(text, method=method) from exc
    if len(frame) > (limit := limits.get("frame", len(frame))):
        text = f"{method} would take {len(frame)} bytes and the daemon reads {limit}; send less"
        raise FrameTooLarge(text, method=method, limit=limit)
    return frame


def _culprit(params: Any) -> str:
    """The dotted name of the first field that cannot be encoded."""
    for name, value in params.items():
        try:
            rpc.request(0, "", {name: value})
        except LocalProtocolError:
            inner = _culprit(value) if hasattr(value, "items") else ""
            return f"{name}.{inner}" if inner else str(name)
    return ""


def _check_prompt(params: dict[str, Any], limits: Mapping[str, int]) -> None:
    limit, prompt = limits.get("prompt"), params.get("input")
    if limit is None or not isinstance(prompt, str) or len(prompt) * 4 <= limit:
        return
    if (size := len(prompt.encode("utf-8", "surrogatepass"))) > limit:
        text = f"the prompt has {size} bytes and the daemon takes {limit}; put it into a file and name the file in it"
        raise InvalidParams(text, field="input", bytes=size, limit=limit)


def hello(name: str) -> dict[str, Any]:
    """The params of ``hello``."""
    return {"protocol": PROTOCOL, "client": {"name": name, "version": __version__}}


def greeted(result: dict[str, Any]) -> dict[str, Any]:
    """The daemon's answer to ``hello``, if it speaks our protocol."""
    if result.get("protocol") != PROTOCOL:
        text = f"the daemon speaks protocol {result.get('protocol')} and this client {PROTOCOL}"
        raise mismatched(ProtocolMismatch(text, protocol=result.get("protocol")))
    return result


def mismatched(error: ProtocolMismatch) -> ProtocolMismatch:
    """``error``, and what to do, if a daemon has not said it already."""
    advice = "run `roost daemon restart`"
    return error if advice in error.message else ProtocolMismatch(f"{error.message}; {advice}", **error.data)


def silent(path: str) -> DaemonUnreachable:
    """Somebody listens at ``path``, and does not answer."""
    text = f"somebody listens at {path} but does not answer; look at its process and its log"
    return DaemonUnreachable(text, path=path)


def unreachable(path: str, cause: OSError) -> DaemonUnreachable:
    """Nobody listens at ``path`` (:func:`nobody`), or it may not be used."""
    text = f"no daemon can be reached at {path} ({cause.strerror})"
    advice = "`roost daemon start` starts one" if cause.errno in _NOBODY else "see whose it is, or name another"
    return DaemonUnreachable(f"{text}; {advice}", path=path, errno=cause.errno)


def nobody(error: DaemonUnreachable) -> bool:
    """No daemon runs there: nobody listens, or who did has just ended."""
    return error.data.get("errno") in _NOBODY


def departed(path: str) -> DaemonUnreachable:
    """The daemon at ``path`` ended before it greeted."""
    return unreachable(path, ConnectionResetError(errno.ECONNRESET, "it has just ended"))


def lost(path: str) -> ConnectionLost:
    """The daemon closed the connection before it answered."""
    text = f"the daemon at {path} closed the connection; see what came of the request before you ask again"
    return ConnectionLost(text, path=path)
