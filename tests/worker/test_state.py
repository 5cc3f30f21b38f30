"""When a worker's state is taken, what of it is sent, and what happens when it cannot be."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.worker_driver import Driver, script
from roost.protocol.errors import InternalError, NotSupported
from roost.protocol.worker import MOST_OPEN

MOODS = script("moods")


@pytest.fixture(scope="module")
def unsavable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """A worker whose state each prompt makes anew."""
    with Driver(script("unsavable"), tmp_path_factory.mktemp("workspace")) as worker:
        worker.initialize()
        yield worker


def test_the_state_is_part_of_a_turn_s_end_whatever_its_status(tmp_path: Path) -> None:
    with Driver(MOODS, tmp_path) as worker:
        worker.initialize()
        prompts = ["tells", "raises", "fails", "exits"] * 2
        answers = [worker.turn(prompt) for prompt in prompts]
        assert [answer["status"] for answer in answers] == ["completed", "failed", "failed", "failed"] * 2
        assert [answer["state"] for answer in answers] == [{"turns": number} for number in range(1, 9)]


def test_a_new_process_goes_on_from_the_saved_state(tmp_path: Path) -> None:
    with Driver(MOODS, tmp_path) as worker:
        worker.initialize(state={"turns": 41})
        assert worker.call("state.get") == worker.call("checkpoint") == {"state": {"turns": 41}}
        assert worker.turn("tells")["state"] == {"turns": 42}


def test_while_a_turn_runs_the_state_is_the_one_before_it(tmp_path: Path) -> None:
    """The answer is a copy, so that a half-changed state is never saved.

    A daemon that stops asks for a cancel, then for a checkpoint, while the function still winds down.
    """
    with Driver(MOODS, tmp_path) as worker:
        worker.initialize()
        worker.turn("tells")
        running = worker.start("winds_down")
        worker.wait_output("waiting")
        worker.cancel()
        assert worker.call("checkpoint") == worker.call("state.get") == {"state": {"turns": 1}}
        (tmp_path / "enough").touch()
        answer = worker.answer(running)
        assert (answer["status"], answer["state"]) == ("cancelled", {"turns": 2})


def test_the_state_after_a_turn_is_not_told_before_its_answer(tmp_path: Path) -> None:
    """Though it was taken already: what comes before the answer counts as the state before that turn."""
    with Driver(script("lingering"), tmp_path) as worker:
        worker.initialize()
        assert worker.turn("one")["state"] == 1
        running = worker.start("linger")
        worker.wait_output("copied")
        assert [worker.call("checkpoint")["state"] for _ in range(20)] == [1] * 20
        (tmp_path / "enough").touch()
        assert worker.answer(running)["state"] == 2
        assert worker.call("checkpoint") == {"state": 2}


def test_a_state_that_is_saved_when_asked_is_not_taken_before(tmp_path: Path) -> None:
    with Driver(script("asked"), tmp_path) as worker:
        worker.initialize()
        assert "state" not in worker.turn("go")
        assert worker.call("checkpoint") == {"state": 1}
        running = worker.start("wait")
        worker.wait_output("waiting")
        checkpoint = worker.ask("checkpoint")
        worker.cancel()
        assert "state" not in worker.answer(running)
        assert worker.answer(checkpoint) == {"state": 2}
        assert worker.call("state.clear") == {}
        assert worker.call("checkpoint") == {"state": 1}


def test_clear_answers_with_the_empty_state(tmp_path: Path) -> None:
    with Driver(MOODS, tmp_path) as worker:
        worker.initialize(state={"turns": 41})
        assert worker.call("state.clear") == worker.call("state.get") == {"state": {"turns": 0}}
        assert worker.turn("tells")["state"] == {"turns": 1}


def test_a_function_that_fails_is_an_error_and_the_worker_goes_on(tmp_path: Path) -> None:
    with Driver(script("asynchronous"), tmp_path) as worker:
        worker.initialize(state=1)
        with pytest.raises(InternalError, match=r"the worker failed in state\.clear: TypeError"):
            worker.call("state.clear")
        assert "Traceback" in worker.stderr
        assert worker.turn("loops")["state"] == 2


def test_a_worker_without_state_says_so(tmp_path: Path) -> None:
    with Driver(script("stateless"), tmp_path) as worker:
        worker.initialize(state={"left": "by another engine"})
        assert worker.turn("hello") == {"status": "completed", "exit_code": None}
        with pytest.raises(NotSupported, match="keeps no state"):
            worker.call("checkpoint")
        with pytest.raises(NotSupported, match="no state that can be cleared"):
            worker.call("state.clear")


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        ("set", "the worker's state cannot be encoded: can not serialize 'set' object"),
        ("keys", "the worker's state cannot be carried: this is not MessagePack-RPC"),
        ("deep", "the worker's state cannot be carried: nested deeper than 24"),
        ("large", "the worker's state cannot be carried: a frame of more than 15728640 bytes"),
        ("lost", "LookupError: the state is lost"),
    ],
)
def test_a_state_that_cannot_be_saved_is_reported_and_the_turn_stands(prompt: str, why: str, unsavable: Driver) -> None:
    assert unsavable.turn(prompt) == {"status": "completed", "exit_code": None}
    [(kind, text)] = unsavable.said
    assert kind == "error" and text.startswith("the state after this turn could not be saved: ")
    assert why in text
    with pytest.raises(InternalError, match=r"LookupError|the worker's state"):
        unsavable.call("checkpoint")
    assert unsavable.turn("fine")["status"] == "completed"
    assert unsavable.said == []


def test_a_state_that_cannot_be_saved_is_reported_beside_as_many_items_as_may_be(unsavable: Driver) -> None:
    assert unsavable.turn("open") == {"status": "completed", "exit_code": None}
    *opened, (kind, _) = unsavable.said
    assert (len(opened), kind) == (MOST_OPEN, "error")
    assert {item.state for item in unsavable.items.values()} == {"completed"}
    assert unsavable.turn("fine")["status"] == "completed"
