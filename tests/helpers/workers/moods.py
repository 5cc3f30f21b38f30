"""A worker whose prompt says how its turn goes."""

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from roost import worker

state: dict[str, int] = {"turns": 0}
earlier: list[worker.Turn] = []


def raises(turn: worker.Turn) -> None:
    raise ValueError("in a bad mood")


def fails(turn: worker.Turn) -> None:
    raise worker.TurnFailed("no luck", exit_code=3, culprit="the dice")


def exits(turn: worker.Turn) -> None:
    sys.exit("had enough")


def breaks(turn: worker.Turn) -> None:
    with turn.item("tool_call", title="hammer", strength=3) as item:
        item.write("bang")
        raise ValueError("ouch")


def leaves(turn: worker.Turn) -> None:
    turn.item("plan").write("to be continued")


def waits(turn: worker.Turn) -> None:
    with turn.item("agent_message") as item:
        item.write("waiting")
        turn.cancelled.wait()
        turn.check()


def returns(turn: worker.Turn) -> None:
    turn.emit("status", "waiting")
    turn.cancelled.wait()


def winds_down(turn: worker.Turn) -> None:
    """Cancelled or not, it goes on until there is a file `enough`."""
    state["half"] = 1
    turn.emit("status", "waiting")
    tick = threading.Event()
    while not Path(turn.workspace, "enough").exists():
        tick.wait(0.01)
    del state["half"]


def calls_back(turn: worker.Turn) -> None:
    called = threading.Event()
    turn.on_cancel(lambda: 1 // 0)
    turn.on_cancel(called.set)
    turn.emit("status", "waiting")
    called.wait()
    turn.on_cancel(lambda: turn.emit("status", f"called because of {turn.cancel_reason}"))


def writes(turn: worker.Turn) -> None:
    with turn.item("agent_message") as item:
        for piece in (b"\xe2\x82", b"\xac ", "é", b"\xff ", b"\xe2", "!", "\ud800", b"\xe2"):
            item.write(piece)


def floods(turn: worker.Turn) -> None:
    with turn.item("agent_message") as item:
        for _ in range(10):
            item.write("é" * 1_000_000)


def reports(turn: worker.Turn) -> None:
    turn.progress("begun")
    turn.progress("half", 0.5)
    turn.usage(input_tokens=3, cost=0.25)
    turn.exit_code = 0


def tells(turn: worker.Turn) -> None:
    about = {
        "session": turn.session,
        "workspace": turn.workspace,
        "number": turn.number,
        "history": turn.history,
        "interrupted": turn.interrupted,
    }
    turn.emit("agent_message", json.dumps(about))


def errs(turn: worker.Turn) -> None:
    """Each mistake of a worker's author is told to him, and does not reach roostd."""
    item = turn.item("status")
    item.end()
    item.end("failed")
    mistakes: list[Callable[[], object]] = [
        lambda: turn.item("poem"),
        lambda: turn.item("plan").end("lost"),
        lambda: item.write("more"),
        lambda: turn.usage(input_tokens=-1),
        lambda: turn.report("progress", {"message": 1}),
        lambda: turn.report("dance", {}),
        lambda: turn.emit("status", "x", data={1, 2}),
        lambda: turn.emit("status", "x", data="x" * 140_000),
        lambda: turn.item("plan").end("completed", data="x" * 140_000),
        lambda: turn.progress("x" * 17_000_000),
        lambda: earlier[0].progress("late"),
    ]
    for mistake in mistakes:
        try:
            mistake()
        except Exception as error:
            turn.emit("error", f"{type(error).__name__}: {error}")


def answers_nonsense(turn: worker.Turn) -> None:
    raise worker.TurnFailed("odd", exit_code="three")


MOODS: dict[str, Callable[[worker.Turn], None]] = {
    name: mood for name, mood in list(globals().items()) if getattr(mood, "__module__", None) == __name__
}


def turn(turn: worker.Turn) -> None:
    state["turns"] += 1
    MOODS[turn.input](turn)
    earlier.append(turn)


def restore(saved: dict[str, int] | None) -> None:
    state.clear()
    state.update(saved or {"turns": 0})


worker.run(turn, checkpoint=lambda: state, restore=restore, name="moods", version="1.2")
