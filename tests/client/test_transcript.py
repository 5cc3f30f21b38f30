"""Events as a person reads them."""

from collections.abc import Iterator
from typing import Any

import pytest

from roost.client.transcript import Piece, Transcript

END = {"reason": None, "problem": None, "exit_code": None, "duration": 1500, "state_saved": True}


def event(kind: str, turn: str | None = "t-a", /, **data: Any) -> dict[str, Any]:
    return {"kind": kind, "turn": turn, "data": data, "seq": 1, "session": "s-a"}


def started(item: str = "i-a", kind: str = "agent_message", title: str = "") -> dict[str, Any]:
    return event("item.started", item=item, kind=kind, title=title, number=1, data={})


def delta(text: str, item: str = "i-a") -> dict[str, Any]:
    return event("item.delta", item=item, start=0, text=text)


def completed(item: str = "i-a", **more: Any) -> dict[str, Any]:
    record = {"id": item, "kind": "agent_message", "content": "", "bytes": 0, "kept": 0, **more}
    return event("item.completed", item=record)


def play(transcript: Transcript, *events: dict[str, Any]) -> list[Piece]:
    def pieces() -> Iterator[Piece]:
        for happened in events:
            yield from transcript.feed(happened)

    return list(pieces())


def said(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces if not piece.note)


def notes(pieces: list[Piece]) -> list[str]:
    return [piece.text for piece in pieces if piece.note]


def test_one_turn_is_its_bare_output() -> None:
    pieces = play(
        Transcript("t-a"),
        event("turn.started", number=1),
        started(),
        delta("he"),
        delta("llo", "i-a"),
        completed(content="hello", bytes=5, kept=5),
        event("turn.completed", **END),
    )
    assert pieces == [Piece("he"), Piece("llo")]


def test_of_one_turn_the_others_are_not_shown() -> None:
    other = event("item.delta", "t-b", item="i-b", start=0, text="no")
    assert play(Transcript("t-a"), other, event("turn.failed", "t-b", **END)) == []


@pytest.mark.parametrize(
    ("kind", "more", "line"),
    [
        ("failed", {"problem": {"message": "it\nbroke"}, "exit_code": 2}, "after 1.5 s - it broke [exit status 2]"),
        ("cancelled", {"reason": "user"}, "(user) after 1.5 s"),
        ("interrupted", {"reason": "daemon_restart", "duration": None}, "(daemon_restart)"),
    ],
)
def test_an_end_that_is_not_completed_is_told(kind: str, more: dict[str, Any], line: str) -> None:
    pieces = play(Transcript("t-a"), event(f"turn.{kind}", **END | more))
    assert pieces == [Piece(f"t-a {kind} {line}", note=True)]


def test_a_conversation_shows_prompts_as_they_were_when_they_started() -> None:
    pieces = play(
        Transcript(),
        event("turn.queued", turn={"input": "make"}, held=None),
        event("turn.edited", input="make test"),
        event("turn.started", number=1),
        event("turn.completed", **END),
    )
    assert notes(pieces) == ["> make test", "t-a completed after 1.5 s"]


def test_items_are_kept_apart_when_the_first_did_not_end_its_line() -> None:
    assert said(play(Transcript("t-a"), started(), delta("one"), completed(), started("i-b"), delta("two", "i-b"))) == (
        "one\ntwo"
    )
    assert said(play(Transcript("t-a"), started(), delta("1\n"), started("i-b"), delta("2", "i-b"))) == "1\n2"


def test_a_command_has_a_heading_unless_it_is_the_prompt() -> None:
    transcript = Transcript("t-a")
    transcript.prompts["t-a"] = "make"
    assert notes(play(transcript, started(kind="command", title="make"))) == []
    assert notes(play(transcript, started(kind="command", title="make\x1b all"))) == ["$ make  all"]
    assert notes(play(transcript, started(kind="agent_message", title="hello"))) == []


def test_what_the_user_said_is_not_repeated() -> None:
    end = completed(kind="user_message", content="make", bytes=4, kept=4)
    assert play(Transcript("t-a"), started(kind="user_message"), delta("make"), end) == []


def test_an_item_that_streamed_nothing_shows_its_content() -> None:
    assert said(play(Transcript("t-a"), started(), completed(content="whole", bytes=5, kept=5))) == "whole"


def test_an_item_that_began_before_is_shown_from_where_it_is() -> None:
    late = [delta("rest"), completed(content="all the rest", bytes=12, kept=12)]
    assert said(play(Transcript("t-a"), *late)) == "rest"


def test_output_that_was_not_kept_is_told() -> None:
    pieces = play(Transcript("t-a"), started(), delta("x"), completed(content="x", bytes=100, kept=1))
    assert notes(pieces) == ["99 of 100 bytes were not kept: i-a"]


@pytest.mark.parametrize(
    ("happened", "note"),
    [
        (event("session.held", None, reason="turn_failed", queued=2), "on hold with 2 queued (turn_failed)"),
        (event("session.released", None, reason="user", queued=2), "released with 2 queued"),
        (event("session.cleared", None), "cleared"),
        (
            event("checkpoint.failed", None, name="latest", problem={"message": "no room"}),
            "its state could not be saved: no room",
        ),
        (event("turn.progressed", message="half", fraction=0.5), "… half (50%)"),
        (event("turn.cancel_requested", reason="user", author=None), "t-a is asked to end (user)"),
        (event("events.pruned", None, from_seq=1, to_seq=9), "events 1 to 9 were removed by retention"),
        (event("session.state_changed", None, old="busy", new="idle", problem={"message": "died"}), "idle: died"),
    ],
)
def test_notes_of_a_conversation(happened: dict[str, Any], note: str) -> None:
    assert play(Transcript(), happened) == [Piece(note, note=True)]


def test_what_a_person_need_not_know_is_left_out() -> None:
    quiet = [event("session.state_changed", None, old="idle", new="busy"), event("turn.usage_reported", usage={})]
    assert play(Transcript(), *quiet) == []
