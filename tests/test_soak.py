"""`make soak` runs, and what it looks for it finds: growth, events that are missing or double, turns that are lost."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
USUAL = {
    "rss": 50_000_000,
    "descriptors": 900,
    "threads": 12,
    "children": 200,
    "zombies": 0,
    "processes": 400,
    "wal": 4_000_000,
}


@pytest.fixture
def growth(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))  # pyright: ignore[reportUnknownMemberType]
    return importlib.import_module("bench.soak.growth")


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))  # pyright: ignore[reportUnknownMemberType]
    return importlib.import_module("bench.soak.ledger")


def grown(growth: Any, what: str, at: Callable[[float], float]) -> list[str]:
    """What is said to have grown in a life in which one measure is ``at(time)`` above the usual, time from 0 to 1."""
    samples = [growth.Sample(at=n * 10, **USUAL | {what: USUAL[what] + round(at(n / 99))}) for n in range(100)]
    return [found.what for found in growth.findings(samples) if found.grew]


@pytest.mark.parametrize(
    ("what", "much"),
    [
        ("rss", 10_000_000),
        ("descriptors", 400),
        ("threads", 12),
        ("children", 100),
        ("zombies", 20),
        ("processes", 200),
        ("wal", 20_000_000),
    ],
)
def test_what_grows_is_found_and_what_only_warms_up_or_peaks_is_not(growth: Any, what: str, much: int) -> None:
    assert grown(growth, what, lambda time: much * time) == [what]
    assert grown(growth, what, lambda time: much * min(time * 5, 1)) == []
    assert grown(growth, what, lambda time: much if 0.9 < time < 0.99 else 0) == []
    assert grown(growth, what, lambda time: -min(much, USUAL[what]) * time) == []


def test_of_a_short_life_nothing_is_said(growth: Any) -> None:
    life = [growth.Sample(at=n, **USUAL) for n in range(300)]
    assert [growth.findings(life[:n]) for n in (0, 1, 20, 31)] == [[], [], [], []]
    assert [found.what for found in growth.findings(life[:100])] == [what for what in USUAL if what != "rss"]
    assert len(growth.findings(life)) == len(USUAL)
    assert growth.findings([sample._replace(at=sample.at / 20) for sample in life]) == [], "it had no time to warm up"


def event(offset: int, kind: str = "turn.started", *, seq: int = 0, turn: str = "t") -> dict[str, Any]:
    return {"offset": offset, "seq": seq or offset, "session": "s", "kind": kind, "turn": turn}


@pytest.mark.parametrize(
    "events",
    [
        [event(1), event(3)],
        [event(1), event(1)],
        [event(2)],
        [event(1, seq=5), event(2, seq=7)],
        [event(1, seq=5), event(2, seq=5)],
    ],
)
def test_an_event_that_is_missing_or_double_breaks_a_feed(ledger: Any, events: list[dict[str, Any]]) -> None:
    sequence = ledger.Sequence("one", "offset", 0)
    with pytest.raises(ledger.Broken):
        for one in events:
            sequence.see(one)


def test_after_a_restart_the_last_event_must_still_be_the_same(ledger: Any) -> None:
    sequence = ledger.Sequence("one", "offset", 0)
    assert sequence.again() == 0
    assert [sequence.see(event(1)), sequence.see(event(2))] == [True, True]
    assert sequence.again() == 1
    assert [sequence.see(event(2)), sequence.see(event(3))] == [False, True]
    sequence.again()
    with pytest.raises(ledger.Broken, match="is another event now"):
        sequence.see(event(3, "turn.failed"))


@pytest.mark.parametrize(
    ("kinds", "problem"),
    [
        (["turn.queued", "turn.started", "turn.completed"], None),
        (["turn.queued", "turn.cancelled"], None),
        (["turn.queued", "turn.started"], "never ended"),
        (["turn.failed"], "never queued"),
        (["turn.queued", "turn.queued", "turn.failed"], "queued 2 times"),
        (["turn.queued", "turn.started", "turn.started", "turn.failed"], "started 2 times"),
        (["turn.queued", "turn.failed", "turn.interrupted"], "ended 2 times"),
    ],
)
def test_a_turn_is_queued_and_ends_once_and_starts_at_most_once(ledger: Any, kinds: list[str], problem: str) -> None:
    book = ledger.Ledger(acknowledged={"t": "s"})
    for number, kind in enumerate(kinds, 1):
        book.see(event(number, kind))
    assert [problem in found for found in book.problems()] == ([True] if problem else [])


def test_a_turn_that_nobody_was_told_of_is_a_double(ledger: Any) -> None:
    book = ledger.Ledger()
    for number, kind in enumerate(["turn.queued", "turn.completed"], 1):
        book.see(event(number, kind))
    assert [problem.endswith("never acknowledged") for problem in book.problems()] == [True]


def test_a_soak_runs_through_all_its_lives() -> None:
    """With a session of each engine and a subscriber of each sort."""
    command = [sys.executable, "-m", "bench.soak", "--rounds", "0", "--minutes", "0.02", "--sessions", "6"]
    command += ["--visitors", "1", "--slow", "1", "--stopped", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("kill -9") == done.stdout.count("SIGTERM") == 3
    assert "Nothing lost, nothing left, no event missing or double" in done.stdout
