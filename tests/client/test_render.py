"""Records as text, tables and JSON."""

import json
from typing import Any

import pytest

from roost.client import render
from roost.client.render import Table

NOW = 1_700_000_000_000
SESSION: dict[str, Any] = {
    "id": "s-aaaa",
    "name": None,
    "engine": "shell",
    "kind": "worker",
    "workspace": "/w",
    "state": "idle",
    "archived": False,
    "hold": None,
    "queued": 0,
    "turns": 3,
    "turn": None,
    "last_turn": "t-last",
    "last_turn_state": "completed",
    "interrupted": None,
    "pid": None,
    "failure": None,
    "seq": 7,
    "usage": {"input_tokens": 5, "output_tokens": 0, "reasoning_tokens": 0, "cached_tokens": 0, "cost": 0.25},
    "checkpoint_at": NOW - 60_000,
    "through_turn": "t-last",
    "created_at": NOW - 3_600_000,
    "active_at": NOW - 7_200_000,
}
TURN: dict[str, Any] = {
    "id": "t-aaaa",
    "session": "s-aaaa",
    "number": 1,
    "state": "failed",
    "input": "make test\nplease",
    "reason": "turn_failed",
    "problem": {"name": "turn_failed", "message": "it ended with status 2", "data": {}},
    "cancelling": None,
    "exit_code": 2,
    "retry_of": None,
    "usage": SESSION["usage"],
    "created_at": NOW - 90_000,
    "duration": 65_000,
}


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(-5, "0s"), (0, "0s"), (59_999, "59s"), (60_000, "1m"), (3_600_000, "1h"), (172_800_000, "2d")],
)
def test_age(milliseconds: int, text: str) -> None:
    assert render.age(milliseconds) == text


@pytest.mark.parametrize(("milliseconds", "text"), [(0, "0 ms"), (999, "999 ms"), (1500, "1.5 s"), (65_000, "1 m 5 s")])
def test_duration(milliseconds: int, text: str) -> None:
    assert render.duration(milliseconds) == text


def test_control_characters_do_not_reach_a_table() -> None:
    assert render.clean("a\x1b[2Jb\rc\u202ed\n") == "a [2Jb c d "
    assert render.short("a\x1b" + "b" * 100, 10) == "a bbbbbbb…"


def test_columns_are_aligned_and_nothing_trails() -> None:
    text = render.columns(Table(("A", "LONG"), [("1", "x"), ("222", "")]))
    assert text == "A    LONG\n1    x\n222\n"


def test_a_session_in_the_list_shows_all_that_needs_a_person() -> None:
    session: dict[str, Any] = SESSION | {
        "name": "api",
        "queued": 2,
        "hold": {"reason": "turn_failed", "turn": "t-x", "at": NOW},
        "interrupted": "t-cut",
        "failure": {"name": "worker_exited", "message": "status 7\x1b[0m", "data": {}},
    }
    (row,) = render.sessions([session], NOW).rows
    assert row == (
        "s-aaaa",
        "api",
        "shell",
        "idle",
        "2",
        "2h",
        "/w",
        "on hold: turn_failed; interrupted: t-cut; worker_exited: status 7 [0m",
    )


def test_an_archived_session_says_so() -> None:
    (row,) = render.sessions([SESSION | {"archived": True}], NOW).rows
    assert row[1] == "-" and row[3] == "archived"


def test_turns_show_the_prompt_in_one_line() -> None:
    (row,) = render.turns([TURN], NOW).rows
    assert row == ("1", "t-aaaa", "failed", "turn_failed", "1m", "1 m 5 s", "make test please")
    (row,) = render.turns([TURN | {"cancelling": "user", "duration": None, "reason": None}], NOW).rows
    assert row[2:6] == ("cancelling", "", "1m", "")


def test_fields_leave_out_what_is_empty() -> None:
    assert render.fields([("a", "1"), ("long", ""), ("bcd", "x\ny")]) == "a     1\nbcd   x y\n"
    assert render.fields([]) == ""


def test_a_session_in_full() -> None:
    text = render.fields(render.session_fields(SESSION, NOW))
    assert "last turn   t-last completed\n" in text
    assert "saved       1m ago, through t-last\n" in text
    assert "usage       input 5, cost 0.25\n" in text
    assert "pid" not in text


def test_a_turn_in_full() -> None:
    text = render.fields(render.turn_fields(TURN))
    assert "state        failed (turn_failed)\n" in text
    assert "problem      turn_failed: it ended with status 2\n" in text
    assert "exit status  2\n" in text


def test_checkpoints_and_engines() -> None:
    saved = {"name": "latest", "through_turn": None, "bytes": 9, "at": NOW - 1000}
    assert render.checkpoints([saved], NOW).rows == [("latest", "-", "9", "1s")]
    engine = {"name": "shell", "kind": "worker", "default": True, "command": ["sh", "-c"]}
    assert render.engines([engine]).rows == [("shell", "worker", "yes", "sh -c")]


def test_an_event_in_a_line() -> None:
    event = {
        "session": "s-aaaa",
        "seq": 4,
        "offset": 9,
        "at": NOW,
        "kind": "turn.queued",
        "turn": "t-aaaa",
        "data": {"turn": {"id": "t-aaaa"}, "held": None, "why": "a\nb", "list": [1]},
    }
    number, at, line = render.event_line(event, of_all=False).split(" ", 2)
    assert (number, len(at)) == ("4", 8)
    assert line == "turn.queued t-aaaa turn=t-aaaa held=None why=a b list=[1]"
    assert render.event_line(event, of_all=True).startswith("9 s-aaaa ")
    assert render.event_line(event | {"session": None}, of_all=True).startswith("9 - ")


def test_json_carries_what_messagepack_can() -> None:
    value = {"text": "ü\n".encode(), "raw": b"\xff", b"key": [float("nan"), float("inf"), 1.5], 3: None}
    found = json.loads(render.json_text(value))
    assert found == {"text": "ü\n", "raw": {"base64": "/w=="}, "key": ["nan", "inf", 1.5], "3": None}
    assert "\n" not in render.json_text({"a": "x\ny"})
