"""How often a child may be started: OTP's intensity and period."""


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
