"""``roost stop`` and ``archive`` where a state cannot be saved: what is lost is said, and counts."""

import json

import pytest

from helpers.cli import Roost
from roost.protocol.worker import MOST_STATE


def ran(roost: Roost, prompt: str, engine: str = "lossy") -> str:
    """A new session after one turn."""
    session = roost.daemon.create(engine)
    assert roost.daemon.run(session, prompt)["state"] == "completed"
    return session


@pytest.mark.parametrize(("verb", "becomes"), [("stop", "idle"), ("archive", "archived")])
@pytest.mark.parametrize(
    ("engine", "prompt", "why"),
    [("lossy", "nothing", "the state is lost"), ("odd", f"hoard {MOST_STATE}", "bytes and may have")],
)
def test_a_state_that_cannot_be_saved_is_said_and_counts(
    roost: Roost, engine: str, prompt: str, why: str, verb: str, becomes: str
) -> None:
    session = ran(roost, prompt, engine)
    done = roost(verb, session)
    assert (done.status, done.out) == (1, f"{session} {becomes}\n")
    assert f"the state of {session} could not be saved and is lost: " in done.err and why in done.err
    (note,) = [
        line for line in roost("log", session).out.splitlines() if line.startswith("its state could not be saved")
    ]
    assert why in note
    assert roost(verb, session).status == 0, "there is nothing more to lose"


def test_each_loss_is_said_and_nobody_elses(roost: Roost) -> None:
    roost.daemon.delete_all()
    lost = {ran(roost, "nothing") for _ in range(2)}
    kept = ran(roost, "fine")
    done = roost("stop", "--all", "--json")
    assert done.status == 1
    assert {json.loads(line)["id"] for line in done.out.splitlines()} == {*lost, kept}
    errors = [json.loads(line)["error"]["message"] for line in done.err.splitlines()]
    assert len(errors) == 2 and all(any(session in text for text in errors) for session in lost)


def test_who_forces_the_stop_gives_the_state_up(roost: Roost) -> None:
    session = ran(roost, "nothing")
    done = roost("stop", "--force", session)
    assert (done.status, done.out) == (0, f"{session} idle\n") and "saved" not in done.err
