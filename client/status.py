"""Exit statuses: what each end of a turn and each error means to a shell."""

from __future__ import annotations

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    from typing import Any


OK, FAILED, USAGE, TIMED_OUT, NOT_FOUND, DENIED, CANCELLED, UNREACHABLE, REFUSED = range(9)
INTERRUPTED = 130
"""Ctrl-C, as a shell counts it."""
BROKEN_PIPE = 141
"""Nobody reads what is printed: as if SIGPIPE had ended the command."""

_BY_NAME = {
    "timed_out": TIMED_OUT,
    "ambiguous_id": USAGE,
    "workspace_invalid": USAGE,
    "invalid_params": USAGE,
    "invalid_settings": USAGE,
    "method_not_found": USAGE,
    "frame_too_large": USAGE,
    "peer_refused": DENIED,
    "too_many_requests": REFUSED,
    "protocol_mismatch": UNREACHABLE,
    "protocol_violation": UNREACHABLE,
}
_BY_HUNDRED = {1: NOT_FOUND, 2: REFUSED, 3: FAILED, 4: REFUSED, 5: UNREACHABLE}
_BY_STATE = {"completed": OK, "cancelled": CANCELLED, "interrupted": CANCELLED}
_BY_REASON = {"timeout": TIMED_OUT, "idle_timeout": TIMED_OUT, "policy": DENIED}
_BY_END = {"complete": OK, "unsubscribed": OK, "session_deleted": CANCELLED, "shutting_down": REFUSED}


def of_error(name: str, code: int) -> int:
    """The exit status for an error, by its name or the hundred of its code."""
    return _BY_NAME.get(name) or _BY_HUNDRED.get(code // 100, FAILED)


def of_turn(state: str, reason: str | None) -> int:
    """The exit status for a turn that ended in ``state``."""
    if state != "completed" and reason in _BY_REASON:
        return _BY_REASON[reason]
    return _BY_STATE.get(state, FAILED)


def of_end(reason: str) -> int:
    """The exit status for a subscription that ended before what it was made for."""
    return _BY_END.get(reason, UNREACHABLE)


def of_last_turn(turn: dict[str, Any] | None) -> int:
    """The exit status for a session whose last turn this was; a session without one is at ease."""
    return OK if turn is None else of_turn(turn["state"], turn["reason"])
