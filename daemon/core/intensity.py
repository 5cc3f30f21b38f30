"""How often a child may be started (OTP's intensity and period), and how long to wait before the next try."""

FIRST = 0.1
"""Seconds before the second try."""
LONGEST = 30.0
"""Seconds that no wait exceeds."""


def allowed(starts: tuple[float, ...], now: float, intensity: int, period: float) -> tuple[bool, tuple[float, ...]]:
    """Whether one more start is within ``intensity`` starts in ``period`` seconds.

    Args:
        starts: when the earlier ones were, on the clock of ``now``.

    Returns:
        The answer, and the starts to remember: those still inside the period, and this one if it is allowed.
    """
    recent = tuple(start for start in starts if now - start <= period)
    if len(recent) >= intensity:
        return False, recent
    return True, (*recent, now)


def backoff(failures: int, jitter: float) -> float:
    """Seconds to wait after that many failures in a row: doubling, and the upper half of it left to chance.

    Args:
        jitter: a random number in [0, 1), so that children that failed together do not come back together.
    """
    if failures <= 0:
        return 0.0
    # 2 ** 16 is far past LONGEST; a float overflows at 2 ** 1024.
    full = min(LONGEST, FIRST * 2.0 ** min(failures - 1, 16))
    return full * (0.5 + jitter / 2)
