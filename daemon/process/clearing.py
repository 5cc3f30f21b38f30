"""Killing what children and owners leave: killed and looked for again until a full look finds none of it."""

import logging
import math
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import trio

from ...protocol.errors import ProcessesLeft, TimedOut
from ..core.backoff import doubling
from ..waiting.deadline import in_thread
from .look import Looker, Search
from .proc import Stat, Tree
from .trees import Census, Root

log = logging.getLogger(__name__)

FIRST, LONGEST = 0.002, 0.2
"""Seconds between two looks at what was killed: doubling from the first to the longest."""
CLEARING = 5.0
"""Seconds within which killed processes are expected to be gone."""

K = TypeVar("K")
Held = Callable[[], list[int]]
"""Kills what a cgroup holds; the pids of what has not ended by then. Blocking, for a moment."""


class Clearing:
    """Kills whole trees, in the threads that find them.

    Args:
        socket: the daemon's, which its marks name.
        roots: the children that there are.
        kept: the trees of an owner that have a child, or are about to have one; asked in threads.
        moved: see :class:`Looker`.

    Attributes:
        older: pid and start time of the processes that were below this daemon when it began: no strays.
    """

    def __init__(
        self, socket: str, roots: Callable[[], list[Root]], kept: Callable[[str], set[Tree]], moved: Callable[[], int]
    ) -> None:
        self.older = set[tuple[int, int]]()
        self._roots = roots
        self._kept = kept
        self._trees = Counter[Tree]()
        self._owners = Counter[str]()
        self._leaving: Callable[[str], bool] | None = None
        """When the daemon stops: whether an owner is its own."""
        self._looker = Looker(roots, frozenset({socket}), self._doomed, moved=moved, older=self.older)

    async def look(self) -> Census:
        """The census of now; see :meth:`Looker.look`."""
        return await self._looker.look()

    def last(self, tree: Tree) -> bool:
        """Whether the owner has no other child that lives, or starts, and is not being cleared as well."""
        return all(other == tree or other in self._trees for other in self._kept(tree.owner))

    async def clear(self, tree: Tree, held: Held | None, limiter: trio.CapacityLimiter) -> None:
        """Kill a child's tree; with its owner's last child, all that belongs to the owner.

        Args:
            held: is called before each look, in a thread of ``limiter``.

        Raises:
            ProcessesLeft: names the processes that do not end within :data:`CLEARING` seconds.
            TimedOut: /proc does not answer.
        """
        with _counted(self._trees, tree):
            await self._cleared(tree.owner, lambda found: self._of(found, tree), held, limiter)

    async def clear_owner(
        self, owner: str, held: Held | None, limiter: trio.CapacityLimiter, starting: Callable[[], bool]
    ) -> None:
        """Kill all that belongs to an owner, with what comes of its starts meanwhile.

        Args:
            starting: whether a start of the owner is under way.

        Raises:
            ProcessesLeft, TimedOut: see :meth:`clear`; TimedOut also where a start hangs.
        """
        with _counted(self._owners, owner):
            await self._cleared(owner, lambda found: found.of([owner]), held, limiter, starting)

    async def _cleared(
        self,
        owner: str,
        theirs: Callable[[Census], list[Stat]],
        held: Held | None,
        limiter: trio.CapacityLimiter,
        starting: Callable[[], bool] = lambda: False,
    ) -> None:
        killed, search = math.inf, Search()
        for pause in doubling(FIRST, LONGEST):
            in_cgroup = await in_thread(held, limiter=limiter) if held else []
            found = await self.look()
            left = sorted({*in_cgroup, *(process.pid for process in theirs(found))})
            begins = starting()
            if search.over(left, whole=found.whole) and not begins:
                return
            # The first look kills; how long it took says nothing of the killed processes.
            killed = min(killed, trio.current_time())
            if (left or begins) and trio.current_time() - killed > CLEARING:
                raise processes_left(owner, left) if left else _hangs(owner)
            await trio.sleep(pause)

    async def end_strays(self, within: float, ours: Callable[[str], bool], late: Callable[[], set[Tree]]) -> list[int]:
        """Kill what descends from this daemon, or belongs to an owner without a child, before the daemon ends.

        A roostd that listens at the same path in another mount namespace has the same mark, and other owners. What does
        not end is said in the log.

        Args:
            within: seconds that all of it may take. ours: whether an owner is this daemon's; asked in a thread.
            late: the starts that were given up and are not over; they are waited for.

        Returns the pids of what does not end.
        """
        self._leaving, left = ours, list[int]()
        with trio.move_on_after(within) as waiting:
            search = Search()
            for pause in doubling(FIRST, LONGEST):
                found = await self.look()
                left = sorted(process.pid for process in self._ownerless(found, ours))
                if search.over(left, whole=found.whole) and not late():
                    break
                await trio.sleep(pause)
        if waiting.cancelled_caught:
            text = "not all has ended within %g s: left are processes %s, killed, and starts of %s, given up"
            log.error(f"{text}; look at what hangs", within, left, sorted({tree.owner for tree in late()}))
        return left

    def _of(self, found: Census, tree: Tree) -> list[Stat]:
        return found.of([tree.owner]) if self.last(tree) else found.tree(tree)

    def _doomed(self, found: Census) -> list[Stat]:
        """Called in the thread of a look."""
        doomed = found.of(list(self._owners))
        for tree in list(self._trees):
            doomed += self._of(found, tree)
        return doomed + self._ownerless(found, self._leaving) if self._leaving else doomed

    def _ownerless(self, found: Census, ours: Callable[[str], bool]) -> list[Stat]:
        known = {root.owner for root in self._roots()}
        return found.strays + found.of(owner for owner in found.members if owner not in known and ours(owner))


@contextmanager
def _counted(counter: Counter[K], key: K) -> Generator[None]:
    counter[key] += 1
    try:
        yield
    finally:
        counter[key] -= 1
        if not counter[key]:
            del counter[key]


def processes_left(owner: str, pids: Sequence[int]) -> ProcessesLeft:
    """The error that names them."""
    shown = ", ".join(map(str, pids[:10])) + (", …" if len(pids) > 10 else "")
    text = f"processes of {owner} do not end although they were killed: {shown}; look at what they wait for"
    return ProcessesLeft(text, session=owner, pids=pids[:100])


def _hangs(owner: str) -> TimedOut:
    return TimedOut(f"a start of {owner} was not over within {CLEARING:g} s; look at its file system", session=owner)
