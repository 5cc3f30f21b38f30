"""A full look at /proc, shared by all who want one, and never waited for longer than it may take."""

import os
from collections.abc import Callable, Collection, Mapping
from functools import partial

import trio

from ...protocol.errors import ProcessesLeft, TimedOut
from . import proc
from .proc import Mark, Stat
from .trees import Census, Root, census

DEADLINE = 5.0
"""Seconds without a step, after which the process whose environment a look reads is taken for stuck."""
TRIES = 5
"""Looks that may get stuck, each at another process, before it is an error."""

LISTS = 2
"""Lists of pids that are read, one after the other."""

KTHREADD = 2
"""The parent of the kernel's own threads, which have no environment."""


class Looker:
    """Takes a census when asked; those who ask while one is taken share the next.

    Args:
        roots: the children there are, asked at each look. sockets: those whose marks are ours.
        doomed: the sessions of which whatever is found is killed at once.
        moved: a number that changes when an orphan of ours has ended: what forks and ends again and again might be
            in no list long enough to be read, and shows itself by that alone.
        spare_people: a log-in shell, and what somebody runs in it, is no session's.
        predecessor: see :func:`census`.
    """

    def __init__(
        self,
        roots: Callable[[], list[Root]],
        sockets: frozenset[str],
        doomed: Callable[[], frozenset[str]],
        *,
        moved: Callable[[], int] = lambda: 0,
        spare_people: bool = False,
        predecessor: int | None = None,
    ) -> None:
        self._census = partial(census, self=os.getpid(), sockets=sockets, predecessor=predecessor)
        self._moved = moved
        self._spare_people = spare_people
        self._roots = roots
        self._doomed = doomed
        self._next: _Look | None = None
        self._looking = trio.Lock()
        self._stuck: set[tuple[int, int]] = set()

    async def look(self) -> Census:
        """What is there now: nothing of it was read before this was called.

        Raises:
            TimedOut: /proc does not answer. ProcessesLeft: it cannot be read, so nobody knows.
        """
        mine = self._next = self._next or _Look()
        async with self._looking:
            if mine.census is None and mine.failure is None:
                self._next = None  # whoever asks from now on has to wait for the look after this one
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
                return found._replace(whole=before == self._moved())
            if walk.reading is None:
                break
            self._stuck.add(walk.reading)
        raise self._silent()

    async def _walked(self, walk: "_Walk") -> Census | None:
        """None: it does not get on."""
        job = partial(walk.take, self._roots(), self._doomed)
        found: Census | OSError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_give_up, walk, nursery.cancel_scope)
            try:
                found = await trio.to_thread.run_sync(job, limiter=trio.CapacityLimiter(1), abandon_on_cancel=True)
            except OSError as exc:
                found = exc  # raised here it would come as a group
            nursery.cancel_scope.cancel()
        if isinstance(found, OSError):
            text = f"what is left cannot be seen: {found.strerror}; raise the limits of roostd, or stop sessions"
            raise ProcessesLeft(text, reason=found.strerror)
        return found


async def _give_up(walk: "_Walk", scope: trio.CancelScope) -> None:
    """Cancel ``scope`` when the walk does not get on. A slow one, where everybody else computes, is waited for."""
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
    """One walk in a thread. ``reading``: whose environment it reads now, by pid and start time; ``steps``: made yet."""

    def __init__(self, stuck: set[tuple[int, int]], spare_people: bool, sort: Callable[..., Census]) -> None:
        self.reading: tuple[int, int] | None = None
        self.steps = 0
        self._stuck = stuck
        self._spare_people = spare_people
        self._sort = sort

    def take(self, roots: list[Root], doomed: Callable[[], frozenset[str]]) -> Census:
        there = self._everything()
        people = [one.pid for one in there.values() if self._spare_people and proc.is_login_shell(one)]
        found = self._sort(there, self._marks(there), roots, private=people)
        for session in doomed():  # now: who asked for a slow look may have gone, and the session have its next child
            kill(found.members.get(session, []), there)
        return found

    def _everything(self) -> dict[int, Stat]:
        """All processes by pid, and those that began while they were read."""
        there: dict[int, Stat] = {}
        seen: set[int] = set()
        for _ in range(LISTS):
            fresh = proc.pids() - seen
            seen |= fresh
            for pid in fresh:
                self.steps += 1
                if found := proc.stat(pid):
                    there[pid] = found
        return there

    def _marks(self, there: dict[int, Stat]) -> dict[int, Mark]:
        marks: dict[int, Mark] = {}
        for process in there.values():
            self.steps += 1
            key = (process.pid, process.start_time)
            if process.alive and process.ppid != KTHREADD and key not in self._stuck:
                self.reading = key
                if mark := proc.mark(process):
                    marks[process.pid] = mark
        self.reading = None
        return marks


def kill(doomed: Collection[Stat], there: Mapping[int, Stat]) -> None:
    """SIGKILL to each: by whole groups where nobody else is in them, for a group cannot fork while it is killed."""
    pids = {process.pid for process in doomed}
    shared = {process.pgid for process in there.values() if process.alive and process.pid not in pids}
    groups = {process.pgid for process in doomed} - shared
    for pgid in groups:
        proc.kill_group(pgid, there.get(pgid))
    for process in doomed:
        if process.pgid not in groups:
            proc.kill(process)
