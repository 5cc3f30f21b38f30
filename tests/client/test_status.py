"""Exit statuses."""

import pytest

from roost.client import status
from roost.protocol.errors import ERRORS


@pytest.mark.parametrize(
    ("state", "reason", "expected"),
    [
        ("completed", None, 0),
        ("failed", "turn_failed", 1),
        ("cancelled", "timeout", 3),
        ("cancelled", "idle_timeout", 3),
        ("failed", "timeout", 3),
        ("cancelled", "policy", 5),
        ("cancelled", "user", 6),
        ("interrupted", "daemon_restart", 6),
    ],
)
def test_of_a_turn(state: str, reason: str | None, expected: int) -> None:
    assert status.of_turn(state, reason) == expected


def test_of_a_session_without_turns() -> None:
    assert status.of_last_turn(None) == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("timed_out", 3),
        ("session_not_found", 4),
        ("turn_not_found", 4),
        ("engine_not_found", 4),
        ("peer_refused", 5),
        ("daemon_unreachable", 7),
        ("connection_lost", 7),
        ("protocol_mismatch", 7),
        ("shutting_down", 8),
        ("key_conflict", 8),
        ("name_taken", 8),
        ("illegal_transition", 8),
        ("database_refused", 8),
        ("invalid_params", 2),
        ("ambiguous_id", 2),
        ("workspace_invalid", 2),
        ("engine_failed", 1),
        ("internal_error", 1),
    ],
)
def test_of_an_error(name: str, expected: int) -> None:
    assert status.of_error(name, ERRORS[name].code) == expected


def test_no_error_counts_as_success() -> None:
    assert all(1 <= status.of_error(name, cls.code) <= 8 for name, cls in ERRORS.items())
    assert status.of_error("of_a_newer_daemon", 12_345) == 1


@pytest.mark.parametrize(("reason", "expected"), [("complete", 0), ("shutting_down", 8), ("failed", 7)])
def test_of_a_feeds_end(reason: str, expected: int) -> None:
    assert status.of_end(reason) == expected
