"""A worker whose state becomes what its prompt names; for `open` none, and as many items are open as may be."""

from typing import Any

from roost import worker
from roost.protocol.worker import MOST_OPEN, NESTING

state: list[Any] = [0]


def nested(depth: int) -> list[Any]:
    return [nested(depth - 1)] if depth else []


STATES: dict[str, Any] = {
    "set": {1, 2},
    "keys": {1: 2},
    "deep": nested(NESTING),
    "large": b"x" * 16 * 1024 * 1024,
    "fine": nested(3),
}


def turn(turn: worker.Turn) -> None:
    state[0] = STATES.get(turn.input)
    if turn.input == "open":
        for _ in range(MOST_OPEN):
            turn.item("status")


def checkpoint() -> Any:
    if state[0] is None:
        raise LookupError("the state is lost")
    return state[0]


worker.run(turn, checkpoint=checkpoint)
