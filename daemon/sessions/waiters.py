"""Those who wait for a session. What was killed and does not end all the same must not keep them."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from ...protocol.errors import RoostError

T = TypeVar("T")


class Waiters:
    """Of one session; ``over`` is set when its task is.

    Attributes:
        stuck_by: what of the session does not end; None while all that was killed does.
    """

    def __init__(self, over: trio.Event) -> None:
        self.stuck_by: RoostError | None = None
        self._told: RoostError | None = None
        self._over = over
        self._scopes: set[trio.CancelScope] = set()

    async def unless_stuck(self, wait: Callable[[], Awaitable[T]]) -> T:
        """What ``wait`` gives, as long as what was killed also ends.

        Raises:
            ProcessesLeft: it does not; the session goes on waiting by itself.
        """
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                if self.stuck_by is None or self._over.is_set():
                    return await wait()
            finally:
                self._scopes.discard(scope)
        assert self._told is not None  # it may have ended since: who was told no longer waits
        raise self._told

    def tell(self, error: RoostError) -> bool:
        """Nobody waits any longer. Whether that is news."""
        news, self.stuck_by, self._told = self.stuck_by is None, error, error
        for scope in tuple(self._scopes):
            scope.cancel()
        return news

    def free(self) -> None:
        """What did not end has ended: the session may be waited for again."""
        self.stuck_by = None
