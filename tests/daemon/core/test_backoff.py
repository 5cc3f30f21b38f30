"""Waits between tries double up to a limit."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.daemon.core.backoff import LONGEST, doubling, jittered


def test_waits_double_up_to_the_longest_and_go_on_without_end() -> None:
    assert list(islice(doubling(0.25, 4.0), 7)) == [0.25, 0.5, 1, 2, 4, 4, 4]
    assert list(islice(doubling(1.0, 3.0), 4)) == [1, 2, 3, 3]


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0), (1, 0.1), (2, 0.2), (5, 1.6), (10, 30), (10_000, 30)])
def test_jittered_waits_double_up_to_a_limit(failures: int, seconds: float) -> None:
    assert jittered(failures, 0) == seconds / 2
    assert jittered(failures, 0.999999) == pytest.approx(seconds, rel=1e-5)


@given(st.integers(0, 100), st.floats(0, 1, exclude_max=True))
def test_no_jittered_wait_passes_the_limit(failures: int, jitter: float) -> None:
    assert 0 <= jittered(failures, jitter) <= LONGEST
