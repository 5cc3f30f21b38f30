"""The guard around each session, connection and sweeper: a bug in one of them ends that one and nothing else."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVarTuple

log = logging.getLogger(__name__)

Args = TypeVarTuple("Args")


async def guarded(name: str, fn: Callable[[*Args], Awaitable[object]], *args: *Args) -> BaseException | None:
    """Run ``await fn(*args)``; what it raises is logged with its traceback, and returned.

    Cancellation, and whatever else is not an error (KeyboardInterrupt), goes on, out of a group of errors too.
    """
    try:
        await fn(*args)
    except Exception as error:
        return _logged(name, error)
    except BaseExceptionGroup as group:
        errors, rest = group.split(Exception)
        if errors is not None:
            _logged(name, errors)
        # A group that is no ExceptionGroup holds at least one leaf that is no Exception.
        assert rest is not None
        raise rest from None
    return None


def _logged(name: str, error: BaseException) -> BaseException:
    log.error("%s failed: %r", name, error, exc_info=error)
    return error
