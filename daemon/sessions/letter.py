"""A job that somebody else does, and its outcome: whoever waits may leave, the job goes on."""

import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

from ...protocol.errors import InternalError, RoostError, ShuttingDown

log = logging.getLogger(__name__)

T = TypeVar("T")


class Letter(Generic[T]):
    """One job and its outcome."""

    def __init__(self, job: Callable[[], Awaitable[T]]) -> None:
        self.job = job
        self._done = trio.Event()
        self._result: T
        self._error: RoostError | None = None

    async def outcome(self) -> T:
        """Wait for the result, or the error."""
        await self._done.wait()
        if self._error is not None:
            raise self._error
        return self._result

    async def open(self) -> None:
        """Do the job. Errors are its outcome, never this caller's."""
        try:
            self._result = await self.job()
        except RoostError as exc:
            self._error = exc
        except Exception as exc:
            log.exception("a bug in a job")
            self._error = InternalError(f"a bug in roostd: {exc!r}; please report it with the log")
        except BaseException:
            self._error = ShuttingDown("roostd ended before this was done; try again when it is back")
            raise
        finally:
            self._done.set()

    def refuse(self, error: RoostError) -> None:
        """It will not be done."""
        self._error = error
        self._done.set()
