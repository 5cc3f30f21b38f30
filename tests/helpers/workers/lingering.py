"""A worker whose turn `linger` has changed the state, and does not end before there is a file `enough`."""

import threading
from pathlib import Path

from roost import worker

turns: list[str] = []
holds, copied = threading.Event(), threading.Event()


def turn(turn: worker.Turn) -> None:
    turns.append(turn.input)
    copied.clear()
    if turn.input == "linger":
        threading.Thread(target=hold, args=(turn,)).start()
        holds.wait()


def hold(turn: worker.Turn) -> None:
    """Report all the while: the turn's end waits for that."""
    with turn.reporting:
        holds.set()
        copied.wait()
        turn.emit("status", "copied")
        while not Path(turn.workspace, "enough").exists():
            threading.Event().wait(0.01)


def checkpoint() -> int:
    copied.set()
    return len(turns)


worker.run(turn, checkpoint=checkpoint)
