"""A worker as people write them, whose state is saved only when it is asked for: after each turn it is dirty."""

from roost import worker

STATE = {"turns": 0, "memory": ["nothing that could be called small " * 8] * 16}


def turn(turn: worker.Turn) -> None:
    STATE["turns"] = turn.number


if __name__ == "__main__":
    worker.run(turn, checkpoint=lambda: STATE, restore=STATE.update, save="asked")
