"""Which live sessions give up their child: those long idle, and the least recently used of too many."""

from collections.abc import Sequence
from typing import NamedTuple


class Candidate(NamedTuple):
    """A live session. ``used_at`` in seconds on the clock of ``now``; ``busy``: it has a turn that runs or waits."""

    id: str
    used_at: float
    busy: bool


def choose(candidates: Sequence[Candidate], *, now: float, idle: float, max_live: int) -> list[str]:
    """The ids to unload, the least recently used first. A busy session stays, even if that exceeds ``max_live``.

    Args:
        candidates: every live session; the limit counts them all.
        idle: seconds without use after which a session goes, strictly.
        max_live: sessions that may stay; 0 is no limit.
    """
    excess = len(candidates) - max_live if max_live else 0
    spare = sorted((one for one in candidates if not one.busy), key=lambda one: one.used_at)
    return [one.id for place, one in enumerate(spare) if place < excess or now - one.used_at > idle]
