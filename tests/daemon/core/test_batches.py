"""The batches of a stop and the truth about them."""

import pytest

from roost.daemon.core.batches import Report, split
from roost.protocol.model import DAEMON


@pytest.mark.parametrize(("count", "batches"), [(0, 0), (1, 1), (50, 1), (51, 2), (120, 3), (500, 10)])
def test_split_into_ceil_n_by_50(count: int, batches: int) -> None:
    ids = [str(n) for n in range(count)]
    parts = split(ids, 50)
    assert len(parts) == batches
    assert [one for part in parts for one in part] == ids
    assert all(len(part) <= 50 for part in parts)


def test_counts_and_status_tell_the_truth() -> None:
    """A batch with a failure is not ok, and the stop is not a success."""
    report = Report("SIGTERM", sessions=5)
    report.add_batch({"a": "saved", "b": "unchanged"})
    assert report.status == 0
    report.add_batch({"c": "saved", "d": "failed"})
    report.add_batch({"e": "timed_out", "f": "failed"})
    assert (report.saved, report.unchanged, report.failed, report.timed_out) == (2, 1, ["d", "f"], ["e"])
    assert (report.batches, report.batches_ok, report.batches_failed, report.batches_timed_out) == (3, 1, 1, 1)
    assert report.status == 9
    assert "failed: d f" in report.line() and "timed out: e" in report.line()
    assert report.data(5, DAEMON)["timed_out"] == ["e"] and report.data(5, DAEMON)["duration"] == 5
    assert report.data(5, DAEMON)["author"] == {"kind": "daemon"}


def test_an_interrupted_turn_is_not_a_loss() -> None:
    report = Report("SIGTERM", interrupted=["t-1"])
    report.add_batch({"a": "saved"})
    assert report.status == 0
