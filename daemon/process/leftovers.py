"""The leftovers of dead roostds: waited for, then ended, before anything new starts."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import trio

from . import proc
from .look import Looker, Search
from .trees import Root

LOOK = 0.02
"""Seconds between two looks at /proc."""
LAST_PATIENCE = 10.0
"""Seconds for which killed processes are waited for: a process that hangs in a dead file system may never go."""

log = logging.getLogger(__name__)


class Leftovers(NamedTuple):
    """Pids. ``stuck``: of the processes that do not end although they were killed, by owner."""

    ended: list[int]
    stuck: dict[str, list[int]]


async def end_leftovers(
    recorded: Sequence[Root],
    *,
    sockets: frozenset[str],
    ours: Callable[[list[str]], Awaitable[set[str]]],
    patience: float = 2.0,
) -> Leftovers:
    """Wait ``patience`` seconds for a dead daemon's children to go by themselves, then kill all that they left.

    Leftovers are the recorded children, the processes that bear the mark of an owner in our store, and the trees of
    both: a pid alone proves nothing. This process and its ancestors are spared, other roostd with all that is theirs,
    and log-in shells with all that people run in them. It looks again until a full look finds none.

    Args:
        sockets: where the dead daemon may have listened. ours: tells the owners of these that are in our store.
    """
    roots = [root for root in recorded if root.child.boot_id == proc.boot_id()]
    doomed: set[str] = set()

    looker = Looker(lambda: roots, sockets, lambda found: found.of(tuple(doomed)), spare_people=True)
    search = Search()
    killed: set[int] = set()
    known = {root.owner for root in roots}
    begin = killing = trio.current_time()
    while True:
        found = await looker.look()
        known |= await ours([owner for owner in found.members if owner not in known])
        left = {owner: [process.pid for process in found.of([owner])] for owner in found.members if owner in known}
        killed |= {pid for owner in doomed for pid in left.get(owner, [])}
        now = trio.current_time()
        if search.over(left, whole=found.whole) or (left and doomed and now - killing >= LAST_PATIENCE):
            break
        if now - begin >= patience:
            killing = killing if doomed else now
            doomed |= left.keys()
        await trio.sleep(LOOK)
    if left:
        log.error("processes of a dead roostd do not end although they were killed: %s; look at what hangs", left)
    return Leftovers(sorted(killed.difference(*left.values())), left)
