"""A full look at /proc, shared by all tasks that want one, and never waited for longer than it may take."""

import os
from collections.abc import Callable, Collection, Mapping
from functools import partial

import trio

from ...protocol.errors import ProcessesLeft, TimedOut
from ..waiting.deadline import in_thread
from . import proc
from .proc import Mark, Stat
from .trees import Census, Root, census

DEADLINE = 5.0
"""Seconds without a step, after which the process whose environment a look reads is taken for stuck."""
TRIES = 5
"""Looks that may get stuck, each at another process, before that is an error."""
LISTS = 2
"""Lists of pids that are read, one after the other."""
DOUBTS, DOUBTING = 3, 0.5
"""Looks that found nothing, and seconds, until they are believed: no look is whole where processes end all the time."""


class Search:
    """Repeated looks for the same processes, until a look that finds none can be believed."""

    def __init__(self) -> None:
        self._doubts, self._sure = DOUBTS, trio.current_time() + DOUBTING

    def over(self, left: Collection[object], *, whole: bool) -> bool:
        """Whether nothing is left: a whole look has found nothing, or several looks in a row that were not whole.

        Args:
            left: the processes that a look has found. whole: see :class:`Census`.
        """
        now = trio.current_time()
        if left:
            self._doubts, self._sure = DOUBTS, now + DOUBTING
            return False
        self._doubts -= 1
        return whole or (self._doubts < 0 and now > self._sure)


class Looker:
    """Takes a census when asked; all tasks that ask while a census is taken share the next one.

    Args:
        roots: the children that there are, asked at each look. sockets: the daemons whose marks count.
        doomed: the processes of a census that are killed at once, in the thread that found them.
        moved: a number that changes when an orphan of this daemon has ended. A process that forks and ends again and
            again may be in no list long enough to be read: only that number tells of it.
        spare_people: a log-in shell, and all that a person runs in it, belongs to no owner.
        older: see :func:`census`.
    """

    def __init__(
        self,
        roots: Callable[[], list[Root]],
        sockets: frozenset[str],
        doomed: Callable[[Census], list[Stat]],
        *,
        moved: Callable[[], int] = lambda: 0,
        spare_people: bool = False,
        older: Collection[tuple[int, int]] = (),
    ) -> None:
        self._census = partial(census, self=os.getpid(), sockets=sockets, older=older)
        self._moved = moved
        self._spare_people = spare_people
        self._roots = roots
        self._doomed = doomed
        self._next: _Look | None = None
        self._looking = trio.Lock()
        self._stuck: set[tuple[int, int]] = set()

    async def look(self) -> Census:
        """The census of now: nothing of it was read before this was called.

        Raises:
            TimedOut: /proc does not answer. ProcessesLeft: /proc cannot be read.
        """
        mine = self._next = self._next or _Look()
        async with self._looking:
            if mine.census is None and mine.failure is None:
                self._next = None  # a task that asks from now on waits for the look after this one
                await self._take(mine)
        if mine.census is None:
            raise mine.failure or self._silent()
        return mine.census

    async def _take(self, look: "_Look") -> None:
        try:
            look.census = await self._taken()
        except (TimedOut, ProcessesLeft) as exc:
            look.failure = exc

    def _silent(self) -> TimedOut:
        return TimedOut(f"/proc did not answer within {DEADLINE:g} s; look at what hangs on this host")

    async def _taken(self) -> Census:
        for _ in range(TRIES):
            walk = _Walk(self._stuck, self._spare_people, self._census)
            before = self._moved()
            if found := await self._walked(walk):
                return found._replace(whole=found.whole and before == self._moved())
            if walk.reading is None:
                break
            self._stuck.add(walk.reading)
        raise self._silent()

    async def _walked(self, walk: "_Walk") -> Census | None:
        """None: the walk does not get on."""
        job = partial(walk.take, self._roots(), self._doomed)
        found: Census | OSError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_give_up, walk, nursery.cancel_scope)
            try:
                found = await in_thread(job, limiter=trio.CapacityLimiter(1))
            except OSError as exc:
                found = exc  # raised here, the error would come in a group
            nursery.cancel_scope.cancel()
        if isinstance(found, OSError):
            text = f"what is left cannot be seen: {found.strerror}; raise the limits of roostd, or stop sessions"
            raise ProcessesLeft(text, reason=found.strerror)
        return found


async def _give_up(walk: "_Walk", scope: trio.CancelScope) -> None:
    """Cancel ``scope`` when the walk does not get on. A walk that is only slow, on a busy host, is waited for."""
    steps = -1
    while steps != walk.steps:
        steps = walk.steps
        await trio.sleep(DEADLINE)
    scope.cancel()


class _Look:
    def __init__(self) -> None:
        self.census: Census | None = None
        self.failure: TimedOut | ProcessesLeft | None = None


class _Walk:
    """One walk in a thread.

    Attributes:
        reading: pid and start time of the process whose memory is being read. steps: processes looked at so far.
    """

    def __init__(self, stuck: set[tuple[int, int]], spare_people: bool, sort: Callable[..., Census]) -> None:
        self.reading: tuple[int, int] | None = None
        self.steps = 0
        self._stuck = stuck
        self._spare_people = spare_people
        self._sort = sort
        self._there: dict[int, Stat] = {}
        self._marks: dict[int, Mark] = {}
        self._people: list[int] = []
        self._whole = True

    def take(self, roots: list[Root], doomed: Callable[[Census], list[Stat]]) -> Census:
        """The census of all processes, with the processes that began during the walk."""
        seen: set[int] = set()
        for _ in range(LISTS):
            fresh = proc.pids() - seen
            seen |= fresh
            for pid in sorted(fresh, reverse=True):  # the youngest process may be gone soonest
                self.steps += 1
                if process := proc.stat(pid):
                    self._there[pid] = process
                    self._identify(process)
                elif proc.gone(pid):
                    self._whole = False
        found = self._sort(self._there, self._marks, roots, private=self._people)._replace(whole=self._whole)
        # Now: the task that asked for a slow look may have gone, and the owner may have its next child.
        kill(doomed(found), self._there)
        return found

    def _identify(self, process: Stat) -> None:
        key = (process.pid, process.start_time)
        # A process that is about to end has no memory, nor has a thread of the kernel.
        if not process.alive or not (process.size or process.threads > 1) or key in self._stuck:
            return
        self.reading = key
        try:
            if self._spare_people and proc.is_login_shell(process):
                self._people.append(process.pid)
            if mark := proc.mark(process):
                self._marks[process.pid] = mark
        except proc.Unread:
            self._whole = False
        self.reading = None


def kill(doomed: Collection[Stat], there: Mapping[int, Stat]) -> None:
    """SIGKILL to each: to a whole group if no other process is in it, for a group cannot fork while it is killed."""
    pids = {process.pid for process in doomed}
    shared = {process.pgid for process in there.values() if process.alive and process.pid not in pids}
    groups = (
        {process.pgid for process in doomed} - shared - {0}
    )  # 0: outside this pid namespace; for kill(2) the own group
    for pgid in groups:
        proc.kill_group(pgid, there.get(pgid))
    for process in doomed:
        if process.pgid not in groups:
            proc.kill(process)
