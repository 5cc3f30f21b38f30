"""A worker that counts its turns; while its workspace has a file `no`, it refuses all that concerns its state."""

from pathlib import Path

from roost import worker

turns = [0]


def turn(turn: worker.Turn) -> None:
    turns[0] += 1
    turn.emit("agent_message", str(turns[0]))


def refuse() -> None:
    if Path("no").exists():
        raise worker.InvalidParams("not now", field="turns")


def checkpoint() -> int:
    refuse()
    return turns[0]


def restore(saved: int | None) -> None:
    refuse()
    turns[0] = saved or 0


worker.run(turn, checkpoint=checkpoint, restore=restore, save="asked")
