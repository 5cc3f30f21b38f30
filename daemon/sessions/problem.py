"""An error as it is kept with a session or a turn."""

from typing import cast

from ...protocol.errors import InternalError, RoostError
from ...protocol.model import Problem
from ..engines import engine as engines


def single(error: BaseException) -> BaseException:
    """The error inside nested groups of one."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return single(group.exceptions[0]) if len(group.exceptions) == 1 else group


def problem_of(error: BaseException) -> Problem:
    """The problem to keep; an error that is not ours is a bug."""
    cause = single(error)
    if not isinstance(cause, RoostError):
        cause = InternalError(f"a bug in roostd: {cause!r}; please report it with the log")
    return engines.problem(cause)
