"""PURE: what has grown, by the medians of the first and the last third of one life, its beginning left out."""

from collections.abc import Sequence
from typing import NamedTuple

from ..measure import percentile

WARMING = 0.25
"""Share of a life that is not looked at: sessions start, caches fill."""
ENOUGH = 12
"""Samples after that, below which nothing can be said."""


class Sample(NamedTuple):
    """What one moment of a daemon was like. ``processes``: all that bear its mark; ``wal``: bytes, as ``rss``.

    ``at``: seconds of a monotonic clock.
    """

    at: float
    rss: int
    descriptors: int
    threads: int
    children: int
    zombies: int
    processes: int
    wal: int


class Slack(NamedTuple):
    """What the last third may be above the first: a share of it, and so much more.

    ``warming``: seconds that are not looked at in any case.
    """

    share: float
    more: int
    warming: float = 20.0


SLACK = {
    "rss": Slack(0.03, 1_000_000, 150.0),
    "descriptors": Slack(0.10, 20),
    "threads": Slack(0.0, 4),
    "children": Slack(0.10, 5),
    "zombies": Slack(0.0, 8),
    "processes": Slack(0.10, 10),
    "wal": Slack(0.10, 4_300_000),
}
"""Where work comes and goes by chance, so do children, with four descriptors each, and so do zombies: one is kept
until a look at /proc finds nothing of its tree, five begin each second, and a busy host takes its time. A write-ahead
log of a thousand pages is what SQLite lets it become before it begins it anew; the pages that it keeps in memory, 8 MB
for each of its connections, come in the first minutes."""


class Finding(NamedTuple):
    """One measure of one life."""

    what: str
    first: float
    last: float
    most: float

    @property
    def grew(self) -> bool:
        slack = SLACK[self.what]
        return self.last > self.first * (1 + slack.share) + slack.more


def findings(samples: Sequence[Sample]) -> list[Finding]:
    """One for each measure of which the life was long enough to tell."""
    return [found for what in SLACK if (found := _finding(what, samples))]


def _finding(what: str, samples: Sequence[Sample]) -> Finding | None:
    begin, end = (samples[0].at, samples[-1].at) if samples else (0.0, 0.0)
    warm = begin + max((end - begin) * WARMING, SLACK[what].warming)
    values = [getattr(sample, what) for sample in samples if sample.at >= warm]
    if len(values) < ENOUGH:
        return None
    third = len(values) // 3
    return Finding(what, percentile(values[:third], 0.5), percentile(values[-third:], 0.5), max(values))
