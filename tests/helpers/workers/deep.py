"""A worker that nests what it says as deep as its prompt names: `item 20`, `failure 21`, `state 22`.

A state of text is one that it refuses to restore: the error has it in its data, and a set for `set`.
"""

from typing import Any

from roost import worker

state: list[Any] = [None]


def nested(depth: int) -> Any:
    return {"x": nested(depth - 1)} if depth else None


def turn(turn: worker.Turn) -> None:
    what, _, depth = turn.input.partition(" ")
    value = nested(int(depth))
    if what == "item":
        with turn.item("status", value=value) as item:
            item.end(more=value)
    elif what == "failure":
        raise worker.TurnFailed("no luck", exit_code=3, value=value)
    else:
        state[0] = value


def restore(saved: Any) -> None:
    if isinstance(saved, str):
        raise worker.InvalidParams("it is text", value={"set": {1}, "deep": nested(40)}.get(saved, saved))
    state[0] = saved


worker.run(turn, checkpoint=lambda: state[0], restore=restore)
