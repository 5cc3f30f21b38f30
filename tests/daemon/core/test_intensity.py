"""Restart intensity, as OTP has it."""

from hypothesis import given
from hypothesis import strategies as st

from roost.daemon.core.intensity import allowed


def starts(times: list[float], intensity: int, period: float) -> list[bool]:
    """The answer at each of these times."""
    remembered: tuple[float, ...] = ()
    answers: list[bool] = []
    for now in times:
        answer, remembered = allowed(remembered, now, intensity, period)
        answers.append(answer)
    return answers


def test_so_many_in_a_period_and_no_more() -> None:
    assert starts([0, 1, 2, 3, 4, 5], 5, 60) == [True] * 5 + [False]


def test_a_refused_start_does_not_count() -> None:
    assert starts([0, 1, 60, 60.5, 61.5], 2, 60) == [True, True, False, True, True]


def test_starts_far_apart_are_always_allowed() -> None:
    assert all(starts([100.0 * n for n in range(50)], 1, 60))


@given(
    st.lists(st.floats(0, 1000), max_size=60).map(sorted),
    st.integers(1, 6),
    st.floats(1, 100),
)
def test_no_period_ever_holds_more_than_the_intensity(times: list[float], intensity: int, period: float) -> None:
    started = [now for now, answer in zip(times, starts(times, intensity, period), strict=True) if answer]
    for start in started:
        assert sum(start - other <= period for other in started if other <= start) <= intensity


def test_what_is_remembered_is_bounded() -> None:
    _, remembered = allowed(tuple(range(5)), 5, 5, 60)
    assert remembered == tuple(range(5))
    _, remembered = allowed(tuple(range(5)), 100, 5, 60)
    assert remembered == (100,)
