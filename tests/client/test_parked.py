"""What keeps prompts from running, in a person's words."""

from typing import Any

from roost.client import parked

FAILED = {"state": "failed", "failure": {"name": "worker_exited", "message": "it died"}, "name": None, "id": "s-a"}


def changed(new: str, **data: Any) -> dict[str, Any]:
    return {"kind": "session.state_changed", "data": {"old": "idle", "new": new, **data}}


def test_a_session_has_failed_from_one_event_to_another() -> None:
    assert parked.failure(FAILED) == "it died"
    assert parked.failure({**FAILED, "state": "idle"}) == "", "a child that died is not yet a session that failed"
    assert parked.failure_after({"kind": "turn.queued", "data": {}}, "it died") == "it died"
    assert parked.failure_after(changed("failed", problem={"message": "it\ndied"}), "") == "it died"
    assert parked.failure_after(changed("failed"), "") == "its child ended too often"
    assert parked.failure_after(changed("idle", problem={"message": "x"}), "it died") == ""


def test_one_that_is_on_hold_and_has_failed_needs_both() -> None:
    sent = {"held": "stopped", "ahead": 1, "turn": {"id": "t-a"}}
    said = parked.outlook(sent, FAILED)
    assert said.startswith("on hold (stopped): `roost release s-a`") and "`roost start s-a`" in said
    assert "roost start" not in parked.outlook(sent, {**FAILED, "state": "idle"})
    assert parked.outlook({**sent, "held": None}, {**FAILED, "state": "idle"}).startswith("it runs after 1 before it")
