"""PURE: what has grown, by the medians of the first and the last third of one life, its beginning left out."""

from collections.abc import Sequence
from typing import NamedTuple

from ..measure import percentile

WARMING = 0.25
"""Share of a life that is not looked at: caches fill, sessions start; and it is at least so many seconds."""
WARMING_SECONDS = 20.0
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
    """What the last third may be above the first: a share of it, and so much more."""

    share: float
    more: int


SLACK = {
    "rss": Slack(0.03, 1_000_000),
    "descriptors": Slack(0.10, 20),
    "threads": Slack(0.0, 4),
    "children": Slack(0.10, 5),
    "zombies": Slack(0.0, 2),
    "processes": Slack(0.10, 10),
    "wal": Slack(0.10, 4_300_000),
}
"""Where work comes and goes by chance, so do children, with four descriptors each. A write-ahead log of a thousand
pages is what SQLite lets it become before it begins it anew."""


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
    """One for each measure; none if the life was too short to tell."""
    begin, end = (samples[0].at, samples[-1].at) if samples else (0.0, 0.0)
    warm = begin + max((end - begin) * WARMING, WARMING_SECONDS)
    settled = [sample for sample in samples if sample.at >= warm]
    if len(settled) < ENOUGH:
        return []
    third = len(settled) // 3
    return [
        Finding(
            what,
            percentile([getattr(sample, what) for sample in settled[:third]], 0.5),
            percentile([getattr(sample, what) for sample in settled[-third:]], 0.5),
            max(getattr(sample, what) for sample in settled),
        )
        for what in SLACK
    ]
