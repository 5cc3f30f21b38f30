"""A worker whose author made the mistake that its prompt names; its state is the number of turns."""

from collections.abc import Callable

from roost import worker
from roost.protocol.worker import MOST_OPEN, MOST_USED

turns = [0]


def fails(turn: worker.Turn) -> None:
    raise worker.TurnFailed("no luck", exit_code="1", counts={1: 2})


def opens(turn: worker.Turn) -> None:
    for _ in range(MOST_OPEN + 1):
        turn.item("status")


def exits(turn: worker.Turn) -> None:
    turn.exit_code = "1"  # type: ignore[assignment]


SLIPS: dict[str, Callable[[worker.Turn], object]] = {
    "begins": lambda turn: turn.emit("status", "x", counts={1: 2}),
    "ends": lambda turn: turn.item("status").end(counts={1: 2}),
    "costs": lambda turn: turn.usage(cost=float("nan")),
    "counts": lambda turn: turn.usage(input_tokens=MOST_USED + 1),
    "fails": fails,
    "exits": exits,
    "opens": opens,
}


def turn(turn: worker.Turn) -> None:
    turns[0] += 1
    if turn.input in SLIPS:
        SLIPS[turn.input](turn)
    turn.emit("agent_message", str(turns[0]))


def restore(saved: int | None) -> None:
    turns[0] = saved or 0


worker.run(turn, checkpoint=lambda: turns[0], restore=restore)
