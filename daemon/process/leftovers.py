"""What a dead predecessor left running: waited for, then ended, before anything new starts."""

import logging
import os
from collections.abc import Sequence

import trio

from . import proc
from .spawn import Identity

LOOK = 0.02
"""Seconds between two looks at /proc."""
LAST_PATIENCE = 10.0
"""Seconds for which the killed are waited for: one that hangs in a dead file system may never go."""

log = logging.getLogger(__name__)


async def end_leftovers(recorded: Sequence[Identity], *, patience: float = 2.0) -> list[int]:
    """Wait ``patience`` seconds for the recorded processes to go by themselves, then kill them; the killed pids.

    Theirs are each recorded process and what is still in its session; a pid alone proves nothing. This process and
    its ancestors are spared. It looks again until a full look at /proc finds none.
    """
    owned = [identity for identity in recorded if identity.boot_id == proc.boot_id()]
    limiter = trio.CapacityLimiter(1)
    killed: set[int] = set()
    begin = trio.current_time()
    while left := await trio.to_thread.run_sync(_look, owned, limiter=limiter):
        waited = trio.current_time() - begin
        if waited >= patience + LAST_PATIENCE:
            log.error("processes of a dead roostd do not end: %s; end them by hand", [one.pid for one in left])
            break
        if waited >= patience:
            await trio.to_thread.run_sync(_kill, left, limiter=limiter)
            killed.update(one.pid for one in left)
        await trio.sleep(LOOK)
    return sorted(killed)


def _look(owned: Sequence[Identity]) -> list[proc.Stat]:
    """Those that live of the recorded processes and their sessions: one walk of /proc serves all."""
    if not owned:
        return []
    there = {process.pid: process for process in proc.walk()}
    spared = _lineage(there)
    # A number is not given out again while a session bears it: a leader that is another one ends the proof.
    leaders = {one.sid: one for one in owned if one.pid not in there or there[one.pid].start_time == one.start_time}
    return [
        process
        for process in there.values()
        if process.alive
        and process.pid not in spared
        and (leader := leaders.get(process.sid))
        and process.start_time >= leader.start_time
    ]


def _lineage(there: dict[int, proc.Stat]) -> set[int]:
    """This process and its ancestors."""
    spared: set[int] = set()
    pid = os.getpid()
    while pid in there:
        spared.add(pid)
        pid = there[pid].ppid
    return spared


def _kill(processes: Sequence[proc.Stat]) -> None:
    for process in processes:
        proc.kill(process)
