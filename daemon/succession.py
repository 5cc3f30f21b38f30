"""Taking over from dead roostds: what they left is ended, and what they cut off is said. A copy is refused."""

import logging
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from .. import __version__
from ..protocol.errors import (
    DaemonRunning,
    DatabaseRefused,
    OutcomeUnknown,
    RoostError,
    StorageFailed,
    StorageGone,
)
from ..protocol.events import DAEMON_STARTED, SESSION_PROCESSES_LEFT, DaemonStarted, SessionProcessesLeft
from .process import leftovers, proc
from .process.proc import Identity
from .process.processes import Processes
from .process.trees import Root
from .server import listened_on
from .store import Store, Tx, children, reads, recovery
from .store.children import Child, Keeper
from .store.database import connect
from .waiting.deadline import in_thread

log = logging.getLogger(__name__)

ASKING = 5.0
"""Seconds that a former socket has to tell whether a daemon listens there; it may be on a mount that hangs."""


class Leftovers(NamedTuple):
    """The leftovers that do not end: their pids by owner, and the children that the dead roostds had recorded."""

    stuck: dict[str, list[int]]
    roots: list[Root]


async def refuse_copy(database: Path, mine: Keeper) -> None:
    """Check that the database is no copy of a database that another roostd serves.

    Both would run what is queued, and each would take the other's processes for its own leftovers.

    Raises:
        DaemonRunning: names that roostd.
    """
    with closing(connect(database, "ro")) as conn:
        keeper = children.keeper(conn)
    # The lock says enough of a roostd that had this very directory.
    if keeper is None or keeper.directory == mine.directory or keeper.pid == mine.pid:
        return
    lives = keeper.boot_id == mine.boot_id and proc.lives(keeper.pid, keeper.start_time)
    if lives or (keeper.socket != mine.socket and await _taken(keeper.socket, silent=False)):
        name = f"roostd (pid {keeper.pid})" if lives else "a roostd"
        text = f"{database} is a copy of a database that {name} serves at {keeper.socket}; stop that one first"
        raise DaemonRunning(text, pid=keeper.pid if lives else None, path=str(database), socket=keeper.socket)


async def succeed(store: Store, processes: Processes, mine: Keeper) -> Leftovers:
    """End what dead roostds left, then say which turns they cut off; before the first request is served.

    Args:
        mine: this daemon; it is recorded as the keeper of the database.

    Returns the leftovers that do not end although they were killed.
    """
    recorded = await store.read(children.recorded)
    last = await store.read(reads.last_event_at)
    lived = None if last is None else proc.ticks(last)
    roots = [Root(child.owner, child.leaf, Identity(*child[2:]), lived) for child in recorded]
    ended, stuck = await _end(store, processes, roots)
    interrupted: list[str] = []
    for session_id in {*await store.read(recovery.unfinished), *stuck}:
        try:
            interrupted += await store.write(_recovery(session_id, idle=session_id not in stuck))
        except (StorageFailed, StorageGone, OutcomeUnknown, DatabaseRefused):
            raise
        except RoostError as exc:  # the others need not wait for it
            log.error("session %s: what was cut off in it cannot be settled: %s", session_id, exc)
    data: DaemonStarted = {"pid": os.getpid(), "version": __version__, "interrupted": interrupted, "ended": ended}
    try:
        await store.write(_started(recorded, stuck, mine, data))
    except (StorageFailed, OutcomeUnknown) as exc:
        log.error("that roostd has started is not on disk: %s", exc)
    if interrupted or ended:
        log.warning("recovered: %d turns interrupted, %d processes ended", len(interrupted), len(ended))
    return Leftovers(stuck, roots)


async def _end(store: Store, processes: Processes, roots: list[Root]) -> leftovers.Leftovers:
    """End the leftovers of the daemon that last served this database, at whatever socket it listened."""
    former = await store.read(children.keeper)
    sockets = {processes.socket}
    # The marks of a socket where another daemon listens now are that one's.
    if former is not None and former.socket not in sockets and not await _taken(former.socket, silent=True):
        sockets.add(former.socket)

    async def ours(ids: list[str]) -> set[str]:
        return await store.read(lambda conn: children.known(conn, ids)) if ids else set()

    ended, stuck = await leftovers.end_leftovers(roots, sockets=frozenset(sockets), ours=ours)
    return leftovers.Leftovers(ended + await processes.end_leftovers(ours), stuck)


async def _taken(socket: str, *, silent: bool) -> bool:
    """Whether a daemon listens there; ``silent`` if that is not found out in time."""

    def late() -> bool:
        log.error("whether a daemon listens on %s was not found out within %g s; look at the mount", socket, ASKING)
        return silent

    return await in_thread(lambda: listened_on(socket), within=ASKING, otherwise=late)


def _recovery(session_id: str, idle: bool) -> Callable[[Tx], list[str]]:
    return lambda tx: recovery.recover(tx, session_id, idle=idle)


def _started(
    recorded: list[Child], stuck: dict[str, list[int]], mine: Keeper, data: DaemonStarted
) -> Callable[[Tx], None]:
    def started(tx: Tx) -> None:
        children.keeps(tx, mine)
        for child in recorded:
            if child.owner not in stuck:  # else the next start looks for it again
                children.ended(tx, child.owner, child.leaf, child.pid)
        for owner, pids in stuck.items():
            tx.emit(owner, SESSION_PROCESSES_LEFT, SessionProcessesLeft(pids=pids))
        tx.emit("", DAEMON_STARTED, data)

    return started
