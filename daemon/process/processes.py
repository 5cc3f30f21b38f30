"""Every process that this daemon starts, and what those start: begun here, known here, and ended here to the last."""

from collections import Counter
from collections.abc import Mapping, Sequence

import trio

from ...protocol.errors import ProcessesLeft
from . import proc
from .look import Looker
from .proc import Stat
from .reaper import Reaper, become_subreaper
from .spawn import Child, spawn
from .trees import Census, Root

AT_ONCE = 8
"""Children that are started at the same moment."""
FIRST, LONGEST = 0.002, 0.2
"""Seconds between two looks at what was killed: doubling from the first to the longest."""
DOUBTS = 3
"""Looks that found nothing and are not believed: where orphans end all the time, there is no better proof."""
CLEARING = 5.0
"""Seconds within which what was killed is expected to be gone."""


class Processes:
    """The one owner of children.

    Args:
        socket: the daemon's own; with the session's id it is the mark in each child's environment.
        at_once: children that are started at the same moment; one that hangs in a dead file system takes a place.
    """

    def __init__(self, socket: str, *, at_once: int = AT_ONCE) -> None:
        self.socket = socket
        self.children: dict[int, Root] = {}
        """Those that are not reaped, by pid. Threads add to it."""
        self._clearing = Counter[str]()
        self._reaper = Reaper(self.children)
        self.spawning = trio.CapacityLimiter(at_once)
        self._looker = Looker(
            lambda: list(self.children.values()),
            frozenset({socket}),
            lambda: frozenset(self._clearing),
            moved=self._reaper.count,
        )

    def __repr__(self) -> str:
        return f"<Processes children={len(self.children)}>"

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Take in orphans, and reap them, for ever."""
        become_subreaper()
        await self._reaper.run(task_status=task_status)

    async def spawn(self, session: str, command: Sequence[str], *, cwd: str, env: Mapping[str, str]) -> Child:
        """Start a child of ``session``; ``env`` is all of its environment, the mark included, and its PATH is searched.

        Cancelled, it comes back at once, even if the file system of ``cwd`` hangs; what still starts is killed.

        Raises:
            EngineFailed: there is no such program, or it cannot be started.
            WorkspaceInvalid: ``cwd`` is no directory, or not to be entered.
        """

        return await spawn(command, cwd=cwd, env=env, limiter=self.spawning, owner=_Of(session, self))

    async def look(self) -> Census:
        """Whose what is there is, read after this was called; see :class:`Looker`."""
        return await self._looker.look()

    async def clear(self, session: str) -> None:
        """Kill what lives of the session's trees, again until a full look finds none.

        Raises:
            ProcessesLeft: names what does not end within :data:`CLEARING` seconds.
            TimedOut: /proc does not answer.
        """
        self._clearing[session] += 1
        try:
            begun, pause, doubts = trio.current_time(), FIRST, DOUBTS
            while True:
                found = await self.look()
                left = found.members.get(session)
                doubts -= not found.whole
                if not left and (found.whole or doubts < 0):
                    return
                if left and trio.current_time() - begun > CLEARING:
                    raise processes_left(session, left)
                await trio.sleep(pause)
                pause = min(2 * pause, LONGEST)
        finally:
            self._clearing[session] -= 1
            if not self._clearing[session]:
                del self._clearing[session]

    async def end_strays(self) -> None:
        """Kill what descends from this daemon and is no session's: no child of one lives any more.

        Cancel it to stop waiting for what does not die.
        """
        pause = FIRST
        while left := (await self.look()).strays:
            await trio.to_thread.run_sync(_kill, left)
            await trio.sleep(pause)
            pause = min(2 * pause, LONGEST)


def _kill(strays: list[Stat]) -> None:
    for process in strays:
        proc.kill(process)


def processes_left(session: str, left: Sequence[Stat]) -> ProcessesLeft:
    """The error that names them."""
    pids = sorted(process.pid for process in left)
    shown = ", ".join(map(str, pids[:10])) + (", …" if len(pids) > 10 else "")
    text = f"processes of session {session} do not end although they were killed: {shown}; look at what they wait for"
    return ProcessesLeft(text, session=session, pids=pids[:100])


class _Of:
    """The owner of one session's children."""

    def __init__(self, session: str, processes: Processes) -> None:
        self._session = session
        self._processes = processes

    def own(self, child: Child) -> None:
        self._processes.children[child.pid] = Root(self._session, child.identity)

    def disown(self, child: Child) -> None:
        del self._processes.children[child.pid]

    async def clear(self, child: Child) -> None:
        await self._processes.clear(self._session)
