"""A worker that holds as many bytes as its prompt says."""

from roost import worker


def turn(turn: worker.Turn) -> None:
    held = b"x" * int(turn.input)
    turn.emit("agent_message", str(len(held)))


worker.run(turn)
