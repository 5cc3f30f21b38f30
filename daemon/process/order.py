"""Starts on their way: each gives a child to the task that asked for it, or is given up and buried."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress

import trio

from ...protocol.errors import ProcessesLeft, TimedOut
from ..waiting.awaited import Once
from ..waiting.deadline import in_thread
from ..waiting.guard import guarded
from .proc import Tree
from .spawn import PARTING, Child

log = logging.getLogger(__name__)

AGAIN = 5.0
"""Seconds between two attempts to end a child that was given up and does not end."""


class Orders:
    """The starts of this daemon.

    Args:
        places: for the starts of the same moment. Not Trio's own: a stuck start would stop other threads.

    Attributes:
        under_way: the trees whose start is not over.
        given_up: the trees whose start was given up, until nothing is left of it.
    """

    def __init__(self, places: trio.CapacityLimiter) -> None:
        self.under_way = set[Tree]()
        self.given_up = set[Tree]()
        self._places = places

    def begins(self, owner: str) -> bool:
        """Whether a start of this owner is under way that was not given up."""
        return any(tree.owner == owner for tree in self.under_way - self.given_up)

    async def fill(self, tree: Tree, start: Callable[[], Child]) -> Child:
        """The child that ``start()`` gives in a thread.

        Cancelled, it comes back soon, even if ``start`` hangs; a child that comes all the same is ended by a task of
        its own.

        Raises:
            RoostError: what ``start`` raises.
        """
        order = _Order(start, lambda: self.under_way.discard(tree))
        self.under_way.add(tree)
        try:
            # No await stands between the process and its owner: the thread leaves the child in the order.
            return await in_thread(order.fill, limiter=self._places)
        except trio.Cancelled:
            if order.withdraw():
                self.given_up.add(tree)
                buried = Once()
                # A task of its own: the task that asked has gone, and the owner may be idle.
                name = f"a start of {tree.owner} that was given up"
                trio.lowlevel.spawn_system_task(guarded, name, self._bury, tree, order, buried)
                with trio.move_on_after(PARTING, shield=True):
                    await buried.wait()
            raise

    async def _bury(self, tree: Tree, order: "_Order", buried: Once) -> None:
        await order.over.wait()
        while order.child is not None:
            try:
                await order.child.aclose()
                break
            except (ProcessesLeft, TimedOut) as error:
                log.error("%s: a start that was given up: %s", tree.owner, error)
                await trio.sleep(AGAIN)
        self.given_up.discard(tree)
        buried.set()


class _Order:
    """One child on its way from the thread that starts it.

    Args:
        ended: is called in the Trio thread when the thread has done all it will.

    Attributes:
        over: the thread has done all it will. child: the started child, if there is one.
    """

    def __init__(self, start: Callable[[], Child], ended: Callable[[], None]) -> None:
        self.over = Once()
        self.child: Child | None = None
        self._start = start
        self._ended = ended
        self._token = trio.lowlevel.current_trio_token()
        self._lock = threading.Lock()
        self._begun = self._withdrawn = False

    def fill(self) -> Child:
        with self._lock:
            if self._withdrawn:
                raise RuntimeError("no task waits for this child any more")
            self._begun = True
        try:
            self.child = self._start()
            return self.child
        finally:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._conclude)

    def withdraw(self) -> bool:
        """Begin nothing any more. Whether the thread had begun, so that a child may be there or come."""
        with self._lock:
            self._withdrawn = True
        if not self._begun:
            self._conclude()
        return self._begun

    def _conclude(self) -> None:
        self._ended()
        self.over.set()
