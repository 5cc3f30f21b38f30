"""Every process that this daemon starts, and what those start: begun here, known here, and ended here to the last."""

import logging
import math
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from itertools import chain

import trio

from ...protocol.errors import LimitUnenforceable, ProcessesLeft, TimedOut
from ...protocol.model import Limits
from ..core.limits import unenforced
from ..waiting.guard import guarded
from ..waiting.patience import Patience
from .cgroup import PREDECESSOR, Cgroup, Found, lowered
from .launcher import launcher, resolved
from .look import Looker, Search
from .proc import Stat
from .reaper import Reaper, become_subreaper
from .spawn import Child, Order, spawn
from .trees import Census, Root
from .watch import Watch

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Children that are started at the same moment."""
FIRST, LONGEST = 0.002, 0.2
"""Seconds between two looks at what was killed: doubling from the first to the longest."""
CLEARING = 5.0
"""Seconds within which what was killed is expected to be gone."""
MOMENT = 0.05
"""Seconds that what a cgroup held has to die before the rest is looked for."""
NO_CGROUPS = Found(None, "no cgroup was looked for")
NO_LIMITS = Limits()


class Processes:
    """The one owner of children.

    Args:
        socket: the daemon's own; with the session's id it is the mark in each child's environment.
        cgroups: those that there are for the sessions, and why limits cannot be enforced if they cannot.
        at_once: children that are started at the same moment; one that hangs in a dead file system takes a place.
    """

    def __init__(self, socket: str, *, cgroups: Found = NO_CGROUPS, at_once: int = AT_ONCE) -> None:
        self.socket = socket
        self.cgroups = cgroups
        self.children: dict[int, Root] = {}
        """Those that are not reaped, by pid. Threads add to it."""
        self.inherited: dict[str, list[Root]] = {}
        """Session → children of a dead predecessor that do not end. Nobody here reaps them."""
        self._clearing = Counter[str]()
        self._leaving: Callable[[str], bool] | None = None
        """When the daemon stops: whether a session is its own."""
        self._late: list[tuple[str, trio.Event]] = []
        """Sessions of which a start was given up, until nothing of it is left."""
        self._older = set[tuple[int, int]]()
        self._reaper = Reaper(self.children)
        self._files = Patience()
        self.watch = Watch()
        self.spawning = trio.CapacityLimiter(at_once)
        self.ending = trio.CapacityLimiter(at_once)
        self._looker = Looker(
            self._roots,
            frozenset({socket}),
            self._doomed,
            moved=self._reaper.count,
            older=self._older,
        )

    def __repr__(self) -> str:
        return f"<Processes children={len(self.children)}>"

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Take in orphans, and reap them, for ever."""
        self.watch.keep()
        # Before an orphan can come: an entrypoint may have started what helps it, and then have become this daemon.
        self._older |= {(process.pid, process.start_time) for process in (await self.look()).strays}
        become_subreaper()
        await self._reaper.run(task_status=task_status)

    def unenforced(self, limits: Limits) -> list[str]:
        """The names of those limits that a child is started without, because nobody here enforces them."""
        return unenforced(limits, self.cgroups.cgroups.enforceable if self.cgroups.cgroups else {"nofile"})

    async def spawn(
        self,
        session: str,
        command: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        limits: Limits = NO_LIMITS,
    ) -> Child:
        """Start a child of ``session``; ``env`` is all of its environment, the mark included, and its PATH is searched.

        It has those of ``limits`` that can be enforced here, and a cgroup of its own where there are any.

        Cancelled, it comes back soon, even if the file system of ``cwd`` hangs; what still starts is killed, and the
        session's next start waits for that: one look would take both for the same.

        Raises:
            EngineFailed: there is no such program, or it cannot be started.
            WorkspaceInvalid: ``cwd`` is no directory, or not to be entered.
            LimitUnenforceable: it has limits, and its cgroup cannot be made.
            ProcessesLeft: its cgroup holds what does not end.
        """
        # What hangs is met here first, by one for all, and not by each in one of the few places of those that start.
        where = command[0], cwd, env.get("PATH")
        await self._files.call(where, lambda: _touch(command[0], cwd, env), math.inf)
        while late := [buried for one, buried in self._late if one == session]:
            await late[0].wait()
        return await spawn(command, cwd=cwd, env=env, limiter=self.spawning, owner=_Of(session, limits, self))

    def bury(self, session: str, order: Order) -> trio.Event:
        """See :class:`Owner`."""
        late = session, trio.Event()
        self._late.append(late)
        # A task of nobody: who asked for the child has gone, and its session may be idle.
        trio.lowlevel.spawn_system_task(guarded, f"a start of {session} that was given up", self._bury, order, late)
        return late[1]

    async def _bury(self, order: Order, late: tuple[str, trio.Event]) -> None:
        await order.over.wait()
        while order.child is not None:
            try:
                await order.child.aclose()
                break
            except (ProcessesLeft, TimedOut) as error:
                log.error("session %s: a start that was given up: %s", late[0], error)
                await trio.sleep(CLEARING)
        self._late.remove(late)
        late[1].set()

    def _roots(self) -> list[Root]:
        return [*self.children.values(), *chain.from_iterable(self.inherited.values())]

    async def look(self) -> Census:
        """Whose what is there is, read after this was called; see :class:`Looker`."""
        return await self._looker.look()

    async def clear(self, session: str, cgroup: Cgroup | None = None) -> None:
        """Kill what lives of the session's trees, and what its cgroup holds, again until nothing is left of either.

        Raises:
            ProcessesLeft: names what does not end within :data:`CLEARING` seconds.
            TimedOut: /proc does not answer.
        """
        self._clearing[session] += 1
        try:
            killed, pause, search = math.inf, FIRST, Search()
            while True:
                held = await trio.to_thread.run_sync(_killed, cgroup, limiter=self.ending) if cgroup else []
                found = await self.look()
                left = sorted({*held, *(process.pid for process in found.of([session]))})
                if search.over(left, whole=found.whole):
                    return
                # The first look kills; how long it took says nothing of what it killed.
                killed = min(killed, trio.current_time())
                if left and trio.current_time() - killed > CLEARING:
                    raise processes_left(session, left)
                await trio.sleep(pause)
                pause = min(2 * pause, LONGEST)
        finally:
            self._clearing[session] -= 1
            if not self._clearing[session]:
                del self._clearing[session]

    async def end_left(self, ours: Callable[[list[str]], Awaitable[set[str]]]) -> list[int]:
        """Kill what the cgroups of a dead predecessor hold, however it hid from other looks; the pids of what ended.

        Args:
            ours: those of these session ids that are in our store.
        """
        if self.cgroups.cgroups is None:
            return []
        left = await trio.to_thread.run_sync(self.cgroups.cgroups.left, limiter=self.ending)
        known = await ours([cgroup.folder.name for cgroup in left])
        theirs = [cgroup for cgroup in left if cgroup.folder.name in known]
        return await trio.to_thread.run_sync(_ended, theirs, limiter=self.ending)

    async def end_strays(self, within: float, ours: Callable[[str], bool]) -> list[int]:
        """Kill what descends from this daemon, or is a session's that has no child any more, before the daemon ends.

        A roostd that listens at the same path in another mount namespace has the same mark, and other sessions.

        Starts that were given up are waited for. What does not end is said in the log.

        Args:
            within: seconds that all of it may take. ours: whether a session is this daemon's; asked in a thread.

        Returns the pids of what does not end.
        """
        self._leaving, left = ours, list[int]()
        with trio.move_on_after(within) as waiting:
            search, pause = Search(), FIRST
            while True:
                found = await self.look()
                left = sorted(process.pid for process in self._ownerless(found, ours))
                if search.over(left, whole=found.whole) and not self._late:
                    break
                await trio.sleep(pause)
                pause = min(2 * pause, LONGEST)
        if waiting.cancelled_caught:
            late = sorted({session for session, _ in self._late})
            text = "not all has ended within %g s: left are processes %s, killed, and starts of sessions %s, given up"
            log.error(f"{text}; look at what hangs", within, left, late)
        return left

    def _doomed(self, found: Census) -> list[Stat]:
        """Called in the thread of a look."""
        theirs = found.of(tuple(self._clearing))
        return theirs + self._ownerless(found, self._leaving) if self._leaving else theirs

    def _ownerless(self, found: Census, ours: Callable[[str], bool]) -> list[Stat]:
        said = {root.session for root in self._roots()}
        return found.strays + found.of(name for name in found.members if name not in said and ours(name))


def _touch(program: str, cwd: str, env: Mapping[str, str]) -> None:
    """Whatever a start reads before it can say what is wrong with it."""
    with suppress(OSError, ValueError):
        os.stat(cwd)
        resolved(program, cwd, env)


def _killed(cgroup: Cgroup) -> list[int]:
    """What a cgroup still holds after all of it was killed."""
    cgroup.kill()
    cgroup.wait_empty(MOMENT)
    return cgroup.pids()


def _ended(cgroups: list[Cgroup]) -> list[int]:
    pids = {pid for cgroup in cgroups for pid in cgroup.pids()}
    for cgroup in cgroups:
        cgroup.kill()
    deadline = time.monotonic() + PREDECESSOR  # for all of them together: the start waits
    for cgroup in cgroups:
        if not cgroup.end(max(0.0, deadline - time.monotonic())):
            left = cgroup.pids()  # its session's next start looks for them again
            log.error("processes %s of a dead roostd do not end; look at what hangs", left)
            pids.difference_update(left)
    return sorted(pids)


def processes_left(session: str, pids: Sequence[int]) -> ProcessesLeft:
    """The error that names them."""
    shown = ", ".join(map(str, pids[:10])) + (", …" if len(pids) > 10 else "")
    text = f"processes of session {session} do not end although they were killed: {shown}; look at what they wait for"
    return ProcessesLeft(text, session=session, pids=pids[:100])


class _Of:
    """The owner of one child of a session."""

    def __init__(self, session: str, limits: Limits, processes: Processes) -> None:
        self._session = session
        self._limits = limits
        self._processes = processes
        self.watch = processes.watch
        self._cgroup: Cgroup | None = None
        self._oom_kills = 0

    def prepare(self, command: Sequence[str], cwd: str, env: Mapping[str, str]) -> Sequence[str]:
        self._cgroup = self._made()
        nofile = lowered(self._limits.nofile)
        if self._cgroup is None and nofile is None:
            return command
        program = resolved(command[0], cwd, env)
        procs = self._cgroup.procs_path if self._cgroup else None
        return launcher([program, *command[1:]], procs, nofile, names=env)

    def _made(self) -> Cgroup | None:
        cgroups = self._processes.cgroups.cgroups
        if cgroups is None:
            return None
        try:
            return cgroups.make(self._session, self._limits)
        except LimitUnenforceable as exc:
            if self._limits.model_dump(exclude={"nofile"}, exclude_none=True):
                raise
            log.warning("session %s goes without a cgroup: %s", self._session, exc)
            return None

    def give_up(self) -> None:
        if self._cgroup is not None:
            self._cgroup.remove()

    def oom_kills(self) -> int:
        # Nothing of a disk is behind this file: it does not keep the loop.
        now = self._cgroup.oom_kills() if self._cgroup else 0
        self._oom_kills = max(self._oom_kills, now)
        return self._oom_kills

    def own(self, child: Child) -> None:
        self._processes.children[child.pid] = Root(self._session, child.identity)

    def bury(self, order: Order) -> trio.Event:
        return self._processes.bury(self._session, order)

    def disown(self, child: Child) -> None:
        del self._processes.children[child.pid]

    async def clear(self, child: Child) -> None:
        await self._processes.clear(self._session, self._cgroup)
        if self._cgroup is not None:
            self.oom_kills()
            await trio.to_thread.run_sync(self._cgroup.remove, limiter=self._processes.ending)
