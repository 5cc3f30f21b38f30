"""A worker whose state is expensive: it counts how often it was taken, and can be cleared."""

from roost import worker

taken: list[int] = []


def turn(turn: worker.Turn) -> None:
    turn.emit("status", "waiting")
    if turn.input == "wait":
        turn.cancelled.wait()


def checkpoint() -> int:
    taken.append(1)
    return len(taken)


worker.run(turn, checkpoint=checkpoint, clear=taken.clear, save="asked")
