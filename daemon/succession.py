"""What dead roostds left in the state directory of this one: ended, and what they cut off is said."""

import logging
import os
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import trio

from .. import __version__
from ..protocol.errors import DatabaseRefused, OutcomeUnknown, RoostError, StorageFailed, StorageGone
from .process import proc
from .process.leftovers import Leftovers, end_leftovers
from .process.proc import Identity
from .process.processes import Processes
from .process.trees import Root
from .server import listened_on
from .store import Store, Tx, children, reads, recovery
from .store.children import Child, Keeper

log = logging.getLogger(__name__)

ASKING = 5.0
"""Seconds that a former socket has to tell whether somebody listens there; it may be on a mount that hangs."""


class Remaining(NamedTuple):
    """Session → pids that do not end, and the children of the dead roostds."""

    sessions: dict[str, list[int]]
    roots: list[Root]


async def succeed(store: Store, processes: Processes) -> Remaining:
    """End what dead roostds left, then say which turns they cut off; before the first request is served.

    Returns what does not end although it was killed.
    """
    left = await store.read(children.recorded)
    last = await store.read(reads.last_event_at)
    lived = None if last is None else proc.ticks(last)
    roots = [Root(child.session, Identity(*child[1:]), lived) for child in left]
    ended, stuck = await _end(store, processes, roots)
    interrupted: list[str] = []
    for session_id in {*await store.read(recovery.unfinished), *stuck}:
        try:
            interrupted += await store.write(_recovery(session_id, idle=session_id not in stuck))
        except (StorageFailed, StorageGone, OutcomeUnknown, DatabaseRefused):
            raise
        except RoostError as exc:  # the others need not wait for it
            log.error("session %s: what was cut off in it cannot be settled: %s", session_id, exc)
    data = {"pid": os.getpid(), "version": __version__, "interrupted": interrupted, "ended": ended}
    try:
        await store.write(_started(left, stuck, data))
    except (StorageFailed, OutcomeUnknown) as exc:
        log.error("that roostd has started is not on disk: %s", exc)
    if interrupted or ended:
        log.warning("recovered: %d turns interrupted, %d processes ended", len(interrupted), len(ended))
    return Remaining(stuck, roots)


async def _end(store: Store, processes: Processes, roots: list[Root]) -> Leftovers:
    """End what the dead left, and nothing of a roostd that lives: our database may be a copy of its own."""
    before = [keeper for keeper in await store.read(children.keepers) if keeper.boot_id == proc.boot_id()]
    former = {keeper.socket for keeper in before} - {processes.socket}
    taken = await _taken(former)
    living = [keeper.pid for keeper in before if _lives(keeper)]

    async def ours(ids: list[str]) -> set[str]:
        return await store.read(lambda conn: children.known(conn, ids)) if ids else set()

    ended, stuck = await end_leftovers(
        roots,
        sockets=frozenset({processes.socket, *former} - taken),
        ours=ours,
        keepers=[(keeper.pid, keeper.start_time) for keeper in before],
    )
    if living or taken:
        text = "another roostd may have the same sessions (pids %s, sockets %s); its processes are left alone"
        log.warning(text, living, sorted(taken))
    else:
        ended += await processes.end_left(ours)
    return Leftovers(ended, stuck)


def _lives(keeper: Keeper) -> bool:
    return keeper.pid != os.getpid() and proc.lives(keeper.pid, keeper.start_time)


async def _taken(sockets: Collection[str]) -> set[str]:
    """Those on which somebody listens: what bears their mark now is his.

    The original of our database may have been started again since the copy was made, so that its pid tells nothing.
    """
    if not sockets:
        return set()
    with trio.move_on_after(ASKING):
        return await trio.to_thread.run_sync(lambda: {*filter(listened_on, sockets)}, abandon_on_cancel=True)
    log.error("whether somebody listens on %s was not found out within %g s; look at the mount", sockets, ASKING)
    return set(sockets)


def _recovery(session_id: str, idle: bool) -> Callable[[Tx], list[str]]:
    return lambda tx: recovery.recover(tx, session_id, idle=idle)


def _started(left: list[Child], stuck: dict[str, list[int]], data: Mapping[str, object]) -> Callable[[Tx], None]:
    def started(tx: Tx) -> None:
        for child in left:
            if child.session not in stuck:  # else the next start looks for it again
                children.ended(tx, child.session, child.pid)
        if not stuck:
            children.forget_keepers(tx)
        for session, pids in stuck.items():
            tx.emit(session, "session.processes_left", {"pids": pids})
        tx.emit("", "daemon.started", data)

    return started
