"""The mark of a session of which something does not end although it was killed. No task is to wait for it."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from ...protocol.errors import RoostError

T = TypeVar("T")


class Stuck:
    """Of one live session.

    Attributes:
        by: the processes that do not end; None while all that was killed does.
    """

    def __init__(self) -> None:
        self.by: RoostError | None = None
        self._told: RoostError | None = None
        self._scopes: set[trio.CancelScope] = set()

    async def unless(self, wait: Callable[[], Awaitable[T]]) -> T:
        """The result of ``wait``, as long as all that was killed also ends.

        Raises:
            ProcessesLeft: it does not; the session goes on waiting by itself.
        """
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                if self.by is None:
                    return await wait()
            finally:
                self._scopes.discard(scope)
        assert self._told is not None  # it may have ended since: a task that was told no longer waits
        raise self._told

    def tell(self, error: RoostError) -> bool:
        """No task waits any longer. Whether that is news."""
        news, self.by, self._told = self.by is None, error, error
        for scope in tuple(self._scopes):
            scope.cancel()
        return news

    def free(self) -> None:
        """The processes that did not end have ended: the session may be waited for again."""
        self.by = None
