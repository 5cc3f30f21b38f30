"""Memory, processor time and descriptors that processes use: the daemon itself, and each child with all it started.

psutil reads it, in a thread; it is imported there when it is first needed.
"""

import os
import time
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import trio

from ...protocol.errors import TimedOut
from ...protocol.model import ProcessStats
from ..waiting.deadline import in_thread
from . import proc
from .proc import Stat
from .processes import Processes
from .trees import Census

DEADLINE = 2.0
"""Seconds for one reading; then the process that is being read is taken for stuck."""
TRIES = 3
"""Readings that may get stuck, each at another process; the result of the last one is told."""
SHOWN = 64
"""Pids of one tree that are listed."""
_TICKS = os.sysconf("SC_CLK_TCK")


class Measured(NamedTuple):
    """A child and the living processes of its tree; or the daemon alone, without an owner."""

    owner: str | None
    pid: int
    start_time: int
    members: list[Stat]


class Facts(NamedTuple):
    """Of one process: cpu in seconds, memory in bytes."""

    cpu: float
    memory: int
    descriptors: int


class Usage:
    """Measures when asked; all tasks that ask during a measurement share the next one.

    Args:
        processes: None if there are no children, for there is no database.
    """

    def __init__(self, processes: Processes | None) -> None:
        self._processes = processes
        self._measuring = trio.Lock()
        self._begun = float("-inf")
        self._measured: list[ProcessStats] = []
        self._stuck: list[_Reading] = []

    async def measured(self) -> list[ProcessStats]:
        """The daemon first, then each child: nothing was read before this was called.

        A process that ends meanwhile is left out, and so is a process of which /proc does not tell in time.
        """
        asked = trio.current_time()
        async with self._measuring:
            if self._begun < asked:
                begun = trio.current_time()
                self._measured = await self._read(await self._trees())
                self._begun = begun
        return self._measured

    async def _trees(self) -> list[Measured]:
        if self._processes is None or not self._processes.children:
            return []
        try:
            found = await self._processes.look()
        except TimedOut:  # then only the children themselves are known
            found = Census({}, [])
        return [
            Measured(root.owner, root.child.pid, root.child.start_time, found.tree(root.tree))
            for root in list(self._processes.children.values())
        ]

    async def _read(self, trees: list[Measured]) -> list[ProcessStats]:
        told: list[ProcessStats] = []
        for _ in range(TRIES):
            self._stuck = [stuck for stuck in self._stuck if stuck.at is not None]
            reading = _Reading(stuck.at for stuck in self._stuck)
            told = reading.stats
            limiter = trio.CapacityLimiter(1)
            if await in_thread(partial(reading.run, trees), within=DEADLINE, otherwise=lambda: False, limiter=limiter):
                break
            reading.given_up = True
            self._stuck.append(reading)
        return list(told)


class _Reading:
    """One reading in a thread. ``at``: the pid that is being read; None: the reading has ended."""

    def __init__(self, spared: Iterable[int | None]) -> None:
        self.stats: list[ProcessStats] = []
        self.at: int | None = os.getpid()
        self.given_up = False
        self._spared = frozenset(spared)

    def run(self, trees: list[Measured]) -> bool:
        """Read all of them; always True."""
        itself = proc.stat(os.getpid())
        assert itself is not None, "/proc is not mounted"
        for tree in [Measured(None, itself.pid, itself.start_time, [itself]), *trees]:
            if told := self._of(tree):
                self.stats.append(told)
        self.at = None
        return True

    def _of(self, tree: Measured) -> ProcessStats | None:
        """None: the child has ended."""
        # The child first, whatever its pid.
        members = sorted(tree.members or _alone(tree), key=lambda process: (process.pid != tree.pid, process.pid))
        read = [(process, facts) for process in members if (facts := self._facts_of(process.pid))]
        if not read:
            return None
        return ProcessStats(
            session=tree.owner if tree.owner and tree.owner.startswith("s-") else None,
            pid=tree.pid,
            pids=[process.pid for process, _ in read[:SHOWN]],
            processes=len(read),
            threads=sum(process.threads for process, _ in read),
            cpu=round(sum(facts.cpu for _, facts in read) * 1000),
            memory=sum(facts.memory for _, facts in read),
            descriptors=sum(facts.descriptors for _, facts in read),
            age=max(round((time.clock_gettime(time.CLOCK_BOOTTIME) - tree.start_time / _TICKS) * 1000), 0),
        )

    def _facts_of(self, pid: int) -> Facts | None:
        if self.given_up or pid in self._spared:
            return None
        self.at = pid
        return facts(pid)


def _alone(tree: Measured) -> list[Stat]:
    found = proc.stat(tree.pid)
    return [found] if found is not None and found.alive and found.start_time == tree.start_time else []


def facts(pid: int) -> Facts | None:
    """None: there is no such process, or nothing of it may be read. Descriptors that may not be read count as 0."""
    import psutil

    try:
        process = psutil.Process(pid)
        with process.oneshot():
            cpu, memory = process.cpu_times(), process.memory_info()
            try:
                descriptors = process.num_fds()
            except (psutil.AccessDenied, psutil.ZombieProcess):
                descriptors = 0
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return Facts(cpu.user + cpu.system, memory.rss, descriptors)
