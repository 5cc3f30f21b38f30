"""How long to wait before the next try."""

from collections.abc import Iterator

FIRST = 0.1
"""Seconds before the second try."""
LONGEST = 30.0
"""Seconds that no wait exceeds."""


def doubling(first: float, longest: float) -> Iterator[float]:
    """Seconds to wait before each next try: from ``first``, doubling, up to ``longest``; without end."""
    wait = first
    while True:
        yield min(wait, longest)
        wait = min(2 * wait, longest)


def jittered(failures: int, jitter: float) -> float:
    """Seconds to wait after that many failures in a row: doubling, and the upper half of it left to chance.

    Args:
        jitter: a random number in [0, 1), so that children that failed together do not come back together.
    """
    if failures <= 0:
        return 0.0
    # 2 ** 16 is far past LONGEST; a float overflows at 2 ** 1024.
    full = min(LONGEST, FIRST * 2.0 ** min(failures - 1, 16))
    return full * (0.5 + jitter / 2)
