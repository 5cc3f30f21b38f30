"""The smallest worker."""

from roost import worker

worker.run(lambda turn: turn.emit("agent_message", turn.input))
