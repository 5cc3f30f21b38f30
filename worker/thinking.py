"""The built-in worker ``thinking``: each prompt is a thought, JSON or plain text; history and branches are the state.

The session outlives its last thought and a clear.
"""

from __future__ import annotations

from collections.abc import Callable

from ..protocol.errors import RoostError, TurnFailed
from .sdk import run
from .thoughts import Thought, Thoughts
from .turn import Turn

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    from typing import Any


class Thinking:
    """The thoughts of one session."""

    def __init__(self) -> None:
        self.thoughts = Thoughts()

    def turn(self, turn: Turn) -> None:
        """Add the prompt's thought; the answer is a JSON object. One that is refused changes nothing."""
        import json  # 0.6 MB that a worker which never had a turn does without

        try:
            thought = _parsed(turn.input, json.loads) if turn.input.lstrip().startswith("{") else None
            thought = self.thoughts.next(turn.input) if thought is None else thought
            answer = self.thoughts.add(thought)
        except RoostError as error:
            raise TurnFailed(error.message, **error.data) from error
        turn.emit("thought", thought["thought"], title=_title(self.thoughts.history[-1]))
        turn.emit("agent_message", json.dumps(answer))

    def restore(self, state: Any) -> None:
        """Go on from a state; None is the empty one."""
        self.thoughts = Thoughts() if state is None else Thoughts.restored(state)

    def checkpoint(self) -> dict[str, Any]:
        return self.thoughts.state()


def _parsed(prompt: str, loads: Callable[[str], Any]) -> Any:
    try:
        return loads(prompt)
    except (ValueError, RecursionError) as error:
        raise TurnFailed(f"the prompt begins like JSON and is not: {error}", field="thought") from error


def _title(thought: Thought) -> str:
    title = f"thought {thought['thought_number']} of {thought['total_thoughts']}"
    if "revises_thought" in thought:
        title += f", revises {thought['revises_thought']}"
    if "branch_id" in thought and "branch_from_thought" in thought:
        title += f", branch {thought['branch_id']}"
    return title


def main() -> None:
    thinking = Thinking()
    run(thinking.turn, checkpoint=thinking.checkpoint, restore=thinking.restore, name="thinking")


if __name__ == "__main__":
    main()
