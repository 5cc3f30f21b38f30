"""The vocabulary of a worker: the shapes of the worker protocol, and the errors that a worker may answer with."""

from typing import Any, TypeVar

from ...protocol import rpc
from ...protocol import worker as wire
from ...protocol.errors import (
    InternalError,
    InvalidParams,
    NotSupported,
    RoostError,
    SessionBusy,
    TurnFailed,
    WorkerViolation,
    from_wire,
)
from .engine import problem

ITS_OWN = (NotSupported, SessionBusy, InternalError, TurnFailed)
"""Errors that a worker may answer with; every other name has a meaning of its own here."""

E = TypeVar("E", bound=RoostError)


class WorkerWords:
    """See :class:`Words`."""

    def result(self, method: str, response: rpc.Response) -> dict[str, Any]:
        if response.error is None:
            return wire.check(wire.RESULTS, method, response.result)
        error = from_wire(response.error)
        if isinstance(error, ITS_OWN):
            raise _cut(error)
        text = f"it answered {method} with {error.wire_name}, which is not an error of a worker: {error.message}"
        raise InvalidParams(text, method=method)

    def told(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        return wire.check(wire.TO_DAEMON, method, params)

    def violation(self, error: RoostError) -> WorkerViolation:
        text = f"the session's child broke the worker protocol: {error.message}"
        return _cut(WorkerViolation(text, **{**error.data, "violation": error.wire_name}))


def _cut(error: E) -> E:
    """The words of a child may be long: as much of them as is kept is told on."""
    kept = problem(error)
    return type(error)(kept.message, **kept.data)
