"""What a dead predecessor left running: waited for, then ended, before anything new starts."""

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import NamedTuple

import trio

from . import proc
from .look import Looker, Search
from .trees import Root

LOOK = 0.02
"""Seconds between two looks at /proc."""
LAST_PATIENCE = 10.0
"""Seconds for which the killed are waited for: one that hangs in a dead file system may never go."""

log = logging.getLogger(__name__)


class Leftovers(NamedTuple):
    """Pids. ``left``: those that do not end although they were killed, by session."""

    ended: list[int]
    left: dict[str, list[int]]


async def end_leftovers(
    recorded: Sequence[Root],
    *,
    sockets: frozenset[str],
    ours: Callable[[list[str]], Awaitable[set[str]]],
    keepers: Collection[tuple[int, int]] = (),
    patience: float = 2.0,
) -> Leftovers:
    """Wait ``patience`` seconds for a dead daemon's children to go by themselves, then kill all that they left.

    Theirs is each recorded process, what bears the mark of one of our sessions, and the trees of both: a pid alone
    proves nothing. This process and its ancestors are spared, other roostd with all that is theirs, and log-in shells
    with what somebody runs in them. It looks again until a full look finds none.

    Args:
        sockets: where the dead daemon may have listened. ours: those of these session ids that are in our store.
        keepers: pid and start time of those who recorded it: one that lives has its children still.
    """
    roots = [root for root in recorded if root.child.boot_id == proc.boot_id()]
    doomed: set[str] = set()

    looker = Looker(lambda: roots, sockets, lambda found: found.of(tuple(doomed)), spare_people=True, keepers=keepers)
    search = Search()
    killed: set[int] = set()
    known = {root.session for root in roots}
    begin = killing = trio.current_time()
    while True:
        found = await looker.look()
        known |= await ours([session for session in found.members if session not in known])
        left = {session: [p.pid for p in members] for session, members in found.members.items() if session in known}
        killed |= {pid for session in doomed for pid in left.get(session, [])}
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
