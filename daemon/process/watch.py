"""Descriptors that no task waits for: one task for all of them says when one can be read."""

import logging
import select
from collections.abc import Callable

import trio

log = logging.getLogger(__name__)

_ONCE = select.EPOLLIN | select.EPOLLONESHOT


class Watch:
    """Calls back; for descriptors that are idle most of the time, where a waiting task would cost 3 kB each.

    Used in Trio tasks.
    """

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._kept = False
        self._calls: dict[int, Callable[[], object] | None] = {}

    def keep(self) -> None:
        """Take its own descriptor now, for good: later there may be none left.

        Raises:
            OSError
        """
        self._kept = True
        self._opened()

    def when_readable(self, descriptor: int, call: Callable[[], object]) -> None:
        """Call ``call()``, once, when ``descriptor`` has something to read or its other end is closed.

        The task that closes the descriptor calls :meth:`forget` first.
        """
        epoll = self._opened()
        if descriptor in self._calls:
            epoll.modify(descriptor, _ONCE)
        else:
            epoll.register(descriptor, _ONCE)
        self._calls[descriptor] = call

    def forget(self, descriptor: int) -> None:
        """Watch this descriptor no longer."""
        if descriptor not in self._calls:
            return
        del self._calls[descriptor]
        if self._epoll is not None:
            self._epoll.unregister(descriptor)
            if not self._calls and not self._kept:
                trio.lowlevel.notify_closing(self._epoll.fileno())
                self._close(self._epoll)

    def _opened(self) -> select.epoll:
        if self._epoll is None:
            self._epoll = select.epoll()
            trio.lowlevel.spawn_system_task(self._run, self._epoll)
        return self._epoll

    def _close(self, epoll: select.epoll) -> None:
        epoll.close()
        if self._epoll is epoll:
            self._epoll = None
            self._calls.clear()

    async def _run(self, epoll: select.epoll) -> None:
        try:
            while not epoll.closed:
                await trio.lowlevel.wait_readable(epoll.fileno())
                for descriptor, _ in epoll.poll(0):
                    self._call(descriptor)
        except trio.ClosedResourceError:
            pass  # no descriptor is watched any more
        finally:
            self._close(epoll)

    def _call(self, descriptor: int) -> None:
        call = self._calls.get(descriptor)
        if call is not None:  # else the call before this one has forgotten it
            self._calls[descriptor] = None
            try:
                call()
            except Exception:
                log.exception("a bug in a call of a watched descriptor")
