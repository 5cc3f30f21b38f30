"""What a turn's function can report, and how a turn ends."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.worker_driver import Driver, HeardItem, script


@pytest.fixture
def moods(tmp_path: Path) -> Iterator[Driver]:
    """A worker whose prompt says how its turn goes."""
    with Driver(script("moods"), tmp_path) as worker:
        worker.initialize()
        yield worker


def ending(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without its state."""
    return {name: value for name, value in answer.items() if name != "state"}


def test_a_turn_knows_its_session(tmp_path: Path) -> None:
    history = [{"turn": "t-0", "number": 1, "input": "hi", "state": "completed"}]
    cut_off = {"turn": "t-0", "input": "hi", "reason": "daemon_restart"}
    with Driver(script("moods"), tmp_path) as worker:
        worker.initialize(history=history, interrupted=cut_off)
        worker.turn("tells")
        about = {"session": "s-test", "workspace": str(tmp_path), "number": 1, "history": history}
        assert json.loads(worker.output) == about | {"interrupted": cut_off}
        worker.turn("tells")
        assert json.loads(worker.output) == about | {"interrupted": None, "number": 2}


def test_progress_usage_and_an_exit_code_are_reported(moods: Driver) -> None:
    assert ending(moods.turn("reports")) == {"status": "completed", "exit_code": 0}
    none = {"output_tokens": 0, "reasoning_tokens": 0, "cached_tokens": 0}
    assert [(note.method, note.params) for note in moods.notes] == [
        ("progress", {"message": "begun"}),
        ("progress", {"message": "half", "fraction": 0.5}),
        ("usage", none | {"input_tokens": 3, "cost": 0.25}),
    ]


def test_bytes_are_decoded_wherever_they_are_cut(moods: Driver) -> None:
    moods.turn("writes")
    assert moods.output == "€ é\ufffd \ufffd!?\ufffd"


def test_an_exception_fails_the_turn_with_its_last_line_and_a_traceback_on_stderr(moods: Driver) -> None:
    assert ending(moods.turn("raises")) == {"status": "failed", "message": "ValueError: in a bad mood"}
    assert "in raises\n" in moods.stderr
    assert moods.turn("tells")["status"] == "completed"


def test_turn_failed_says_why_with_exit_code_and_data(moods: Driver) -> None:
    failed = {"status": "failed", "message": "no luck", "exit_code": 3, "data": {"culprit": "the dice"}}
    assert ending(moods.turn("fails")) == failed
    assert moods.stderr == ""


def test_exit_ends_the_turn_not_the_worker(moods: Driver) -> None:
    assert ending(moods.turn("exits")) == {"status": "failed", "message": "SystemExit: had enough"}
    assert moods.turn("tells")["status"] == "completed"


def test_an_item_fails_with_the_exception_that_leaves_it(moods: Driver) -> None:
    moods.turn("breaks")
    assert list(moods.items.values()) == [HeardItem("tool_call", "hammer", {"strength": 3}, "failed", ["bang"])]


def test_an_item_left_open_ends_with_its_turn(moods: Driver) -> None:
    moods.turn("leaves")
    assert list(moods.items.values()) == [HeardItem("plan", "", {}, "completed", ["to be continued"])]


def test_a_cancelled_turn_is_cancelled_with_its_items(moods: Driver) -> None:
    running = moods.start("waits")
    moods.wait_output("waiting")
    assert moods.cancel() == {}
    assert ending(moods.answer(running)) == {"status": "cancelled", "message": "Cancelled: user"}
    assert [item.state for item in moods.items.values()] == ["cancelled"]
    assert moods.stderr == ""


def test_a_cancelled_turn_that_returns_is_cancelled(moods: Driver) -> None:
    running = moods.start("returns")
    moods.wait_output("waiting")
    moods.cancel()
    assert moods.answer(running)["status"] == "cancelled"


def test_a_second_cancel_and_one_of_another_turn_change_nothing(moods: Driver) -> None:
    running = moods.start("waits")
    moods.wait_output("waiting")
    assert moods.call("turn.cancel", turn="t-other", reason="user") == {}
    moods.cancel("timeout")
    moods.cancel("user")
    assert moods.answer(running)["message"] == "Cancelled: timeout"
    assert moods.cancel() == {}
    assert moods.turn("tells")["status"] == "completed"


def test_functions_are_called_on_cancel_and_one_that_fails_harms_no_other(moods: Driver) -> None:
    running = moods.start("calls_back")
    moods.wait_output("waiting")
    moods.cancel("policy")
    assert moods.answer(running)["status"] == "cancelled"
    assert moods.said == [("status", "waiting"), ("status", "called because of policy")]
    assert "ZeroDivisionError" in moods.stderr


def test_an_author_s_mistakes_are_told_to_him_and_not_sent(moods: Driver) -> None:
    moods.turn("tells")
    assert moods.turn("errs")["status"] == "completed"
    assert [text.partition("; ")[0] for kind, text in moods.said if kind == "error"] == [
        "ValueError: an item cannot be a 'poem'",
        "ValueError: an item cannot end as 'lost'",
        "RuntimeError: item 1 has completed",
        "ValueError: usage is counted from 0 to 2**53: {'input_tokens': -1, 'output_tokens': 0, "
        "'reasoning_tokens': 0, 'cached_tokens': 0}",
        "InvalidParams: progress: message must be str",
        "MethodNotFound: there is no 'dance' in the worker protocol",
        "LocalProtocolError: cannot be encoded: can not serialize 'set' object",
        "ValueError: an item's data has 140011 bytes and may have 131072",
        "ValueError: an item's data has 140011 bytes and may have 131072",
        "LocalProtocolError: a message of 17000026 bytes: roostd takes at most 16777216",
        "RuntimeError: turn t-1 is over",
    ]


def test_an_exit_code_that_is_none_is_left_out_and_the_failure_stands(moods: Driver) -> None:
    told = "odd; its exit_code is 'three', which is not one of a process"
    failed: dict[str, Any] = {"status": "failed", "message": told, "exit_code": None, "data": {}}
    assert ending(moods.turn("answers_nonsense")) == failed
    assert moods.turn("tells")["status"] == "completed"


def test_an_async_turn_is_cancelled_as_a_task(tmp_path: Path) -> None:
    with Driver(script("asynchronous"), tmp_path) as worker:
        worker.initialize()
        running = worker.start("sleep")
        worker.wait_output("waiting")
        assert worker.call("ping") == {}
        worker.cancel()
        assert worker.answer(running)["status"] == "cancelled"
        assert worker.said == [("status", "waiting"), ("status", "tidied up")]


def test_all_async_functions_share_one_loop(tmp_path: Path) -> None:
    with Driver(script("asynchronous"), tmp_path) as worker:
        worker.initialize(state=2)
        assert worker.turn("loops")["state"] == 3
        assert worker.turn("loops")["state"] == 4
        assert worker.output == "1"
        worker.call("shutdown")
        assert worker.wait_exit() == 0
        assert worker.stderr == ""
