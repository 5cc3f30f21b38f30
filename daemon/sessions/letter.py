"""A job that somebody else does, and its outcome: whoever waits may leave, the job goes on."""

import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

from ...protocol.errors import InternalError, RoostError

log = logging.getLogger(__name__)

T = TypeVar("T")


class Letter(Generic[T]):
    """One job and its outcome."""

    def __init__(self, job: Callable[[], Awaitable[T]]) -> None:
        self.job = job
        self._done = trio.Event()
        self._result: T
        self._error: RoostError | None = None

    @property
    def settled(self) -> bool:
        """It has an outcome."""
        return self._done.is_set()

    async def outcome(self) -> T:
        """Wait for the result, or the error."""
        await self._done.wait()
        if self._error is not None:
            raise self._error
        return self._result

    async def open(self) -> None:
        """Do the job. Errors are its outcome, never this caller's; cut off in the middle it has none: refuse it then."""
        try:
            self._result = await self.job()
        except RoostError as exc:
            self.refuse(exc)
        except Exception as exc:
            log.exception("a bug in a job")
            self.refuse(InternalError(f"a bug in roostd: {exc!r}; please report it with the log"))
        else:
            self._done.set()

    def refuse(self, error: RoostError) -> None:
        """It is not done. What has an outcome keeps it."""
        if not self.settled:
            self._error = error
            self._done.set()
