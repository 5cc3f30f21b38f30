"""Every process that this daemon starts, and all that those start: begun here, known here, and ended here."""

import logging
import math
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain

import trio

from ...protocol.errors import LimitUnenforceable
from ...protocol.model import Limits, new_id
from ..core.limits import unenforced
from ..waiting.deadline import in_thread
from ..waiting.patience import Patience
from .cgroup import MOMENT, PREDECESSOR, Cgroup, Found, lowered
from .clearing import Clearing
from .launcher import launcher, resolved
from .order import Orders
from .proc import CHILD_MARK, DAEMON_MARK, Tree
from .reaper import Reaper, become_subreaper
from .spawn import Child, begin
from .trees import Census, Root
from .watch import Watch

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Children that are started at the same moment."""
NO_CGROUPS = Found(None, "no cgroup was looked for")
NO_LIMITS = Limits()
_CHILD, _DAEMON = (os.fsdecode(mark).rstrip("=") for mark in (CHILD_MARK, DAEMON_MARK))


class Processes:
    """All children of this daemon. An owner (a session, a tool server, a hook) has any number of them.

    Args:
        socket: the daemon's own; with the name of the child's tree it is the mark in each child's environment.
        cgroups: the cgroups for the owners, and the reason why limits cannot be enforced if they cannot.
        at_once: children that are started at the same moment; a start that hangs in a dead file system takes a place.
    """

    def __init__(self, socket: str, *, cgroups: Found = NO_CGROUPS, at_once: int = AT_ONCE) -> None:
        self.socket = socket
        self.cgroups = cgroups
        self.children: dict[int, Root] = {}
        """The children that are not reaped, by pid. Threads add to it."""
        self.leftovers: dict[str, list[Root]] = {}
        """Owner → children of a dead daemon that do not end. They are not this daemon's to reap."""
        self.watch = Watch()
        self.spawning = trio.CapacityLimiter(at_once)
        self.ending = trio.CapacityLimiter(at_once)
        self._kept: dict[str, set[Tree]] = {}
        """Owner → its trees that have a child or are about to have one. Only the Trio thread changes it."""
        self._files = Patience()
        self._orders = Orders(self.spawning)
        self._reaper = Reaper(self.children)
        self._clearing = Clearing(socket, self._roots, self.kept, self._reaper.count)

    def __repr__(self) -> str:
        return f"<Processes children={len(self.children)}>"

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Take in orphans, and reap them, for ever."""
        self.watch.keep()
        # Before an orphan can come: an entrypoint may have started helpers, and then have become this daemon.
        self._clearing.older |= {(process.pid, process.start_time) for process in (await self.look()).strays}
        become_subreaper()
        await self._reaper.run(task_status=task_status)

    def unenforced(self, limits: Limits) -> list[str]:
        """The names of the limits that a child is started without, because they cannot be enforced here."""
        return unenforced(limits, self.cgroups.cgroups.enforceable if self.cgroups.cgroups else {"nofile"})

    async def spawn(
        self,
        owner: str,
        command: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        limits: Limits = NO_LIMITS,
    ) -> Child:
        """Start a child of ``owner``; ``env`` is its environment, to which its mark is added, and its PATH is searched.

        The limits that can be enforced here hold for all children of the owner together, from now on. Where cgroups can
        be made, the child has a leaf of its own below its owner's.

        Cancelled, it comes back soon, even if the file system of ``cwd`` hangs; a child that still starts is killed.

        Raises:
            EngineFailed: there is no such program, or it cannot be started.
            WorkspaceInvalid: ``cwd`` is no directory, or not to be entered.
            LimitUnenforceable: there are limits, and the cgroup cannot be made.
            ProcessesLeft: leftovers of a dead daemon in the owner's cgroup do not end.
        """
        # A dead file system is met here first, by one call for all, and not by each start in one of their few places.
        where = command[0], cwd, env.get("PATH")
        await self._files.call(where, lambda: _touch(command[0], cwd, env), math.inf)
        tree = Tree(owner, new_id("c"))
        marked = {**env, _CHILD: str(tree), _DAEMON: self.socket}
        self._kept.setdefault(owner, set()).add(tree)
        try:
            return await self._orders.fill(tree, partial(begin, command, cwd, marked, _Guardian(tree, limits, self)))
        except BaseException:  # it has failed, or was given up
            self.drop(tree)
            raise

    def kept(self, owner: str) -> set[Tree]:
        """The trees of an owner that have a child or are about to have one. Any thread may ask."""
        return set(self._kept.get(owner, ()))

    def drop(self, tree: Tree) -> None:
        """This tree has no child any more that its owner's other children must be told from."""
        trees = self._kept.get(tree.owner, set())
        trees.discard(tree)
        if not trees:
            self._kept.pop(tree.owner, None)

    def leaves(self, owner: str) -> set[str]:
        """The leaves of an owner's kept trees. Any thread may ask."""
        return {tree.leaf for tree in self.kept(owner)}

    def _roots(self) -> list[Root]:
        return [*self.children.values(), *chain.from_iterable(list(self.leftovers.values()))]

    async def look(self) -> Census:
        """The trees of all processes, read after this was called; see :class:`Looker`."""
        return await self._clearing.look()

    async def clear(self, tree: Tree, cgroup: Cgroup | None = None) -> None:
        """Kill what lives of a child's tree and what its cgroup holds; with the owner's last child, all of the owner.

        Raises:
            ProcessesLeft, TimedOut: see :meth:`Clearing.clear`.
        """
        held = partial(self._held, tree, cgroup) if cgroup else None
        await self._clearing.clear(tree, held, self.ending)

    async def end_owner(self, owner: str) -> None:
        """End all children of an owner, and all that bears its mark; at once if it has no child.

        The tasks that have the children see them end, and reap them.

        Raises:
            ProcessesLeft, TimedOut: see :meth:`Clearing.clear_owner`.
        """
        if owner not in self.leftovers and owner not in self._kept:
            return  # the end of its last child has left nothing of it
        held = partial(self._held_by, owner) if self.cgroups.cgroups else None
        await self._clearing.clear_owner(owner, held, self.ending, partial(self._orders.begins, owner))

    def _held(self, tree: Tree, cgroup: Cgroup) -> list[int]:
        """The processes that a child's cgroup still holds after all was killed; see :meth:`clear`. In a thread."""
        held = _killed(cgroup)
        if self.cgroups.cgroups is not None and self._clearing.last(tree):
            held += self.cgroups.cgroups.kill_rest(tree.owner, partial(self.leaves, tree.owner))
        return held

    def _held_by(self, owner: str) -> list[int]:
        """The processes that an owner's cgroup still holds after all of it was killed. Called in a thread."""
        if self.cgroups.cgroups is None:
            return []
        cgroup = Cgroup(self.cgroups.cgroups.root / owner)
        return _killed(cgroup) if cgroup.folder.exists() else []

    async def end_leftovers(self, ours: Callable[[list[str]], Awaitable[set[str]]]) -> list[int]:
        """Kill what the cgroups of a dead daemon hold, however it hid from other looks; the pids of what ended.

        Args:
            ours: tells the owners of these that are in our store.
        """
        if self.cgroups.cgroups is None:
            return []
        left = await in_thread(self.cgroups.cgroups.leftovers, limiter=self.ending)
        known = await ours([cgroup.folder.name for cgroup in left])
        theirs = [cgroup for cgroup in left if cgroup.folder.name in known]
        return await in_thread(lambda: _ended(theirs), limiter=self.ending)

    async def end_strays(self, within: float, ours: Callable[[str], bool]) -> list[int]:
        """Kill what belongs to no child before the daemon ends; see :meth:`Clearing.end_strays`."""
        return await self._clearing.end_strays(within, ours, lambda: self._orders.given_up)


def _touch(program: str, cwd: str, env: Mapping[str, str]) -> None:
    """Read all that a start reads before it can say what is wrong with it."""
    with suppress(OSError, ValueError):
        os.stat(cwd)
        resolved(program, cwd, env)


def _killed(cgroup: Cgroup) -> list[int]:
    """The processes that a cgroup still holds after all of it was killed."""
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
            left = cgroup.pids()  # the owner's next start looks for them again
            log.error("processes %s of a dead roostd do not end; look at what hangs", left)
            pids.difference_update(left)
    return sorted(pids)


class _Guardian:
    """The guardian of one child of an owner: its record, its cgroup and its end."""

    def __init__(self, tree: Tree, limits: Limits, processes: Processes) -> None:
        self.tree = tree
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
        owner = self.tree.owner
        try:
            return cgroups.make(self.tree, self._limits, partial(self._processes.leaves, owner))
        except LimitUnenforceable as exc:
            if self._limits.model_dump(exclude={"nofile"}, exclude_none=True):
                raise
            log.warning("%s goes without a cgroup: %s", owner, exc)
            return None

    def give_up(self) -> None:
        if self._cgroup is not None and (cgroups := self._processes.cgroups.cgroups):
            cgroups.remove(self.tree)

    def oom_kills(self) -> int:
        # Nothing of a disk is behind this file: it does not keep the loop.
        now = self._cgroup.oom_kills() if self._cgroup else 0
        self._oom_kills = max(self._oom_kills, now)
        return self._oom_kills

    def own(self, child: Child) -> None:
        self._processes.children[child.pid] = child.root

    def disown(self, child: Child) -> None:
        del self._processes.children[child.pid]
        self._processes.drop(self.tree)

    async def clear(self, child: Child) -> None:
        await self._processes.clear(self.tree, self._cgroup)
        if self._cgroup is not None:
            self.oom_kills()
            await in_thread(self.give_up, limiter=self._processes.ending)
