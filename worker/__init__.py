"""For people who write workers: ``from roost import worker``, a function per turn, ``worker.run(function)``.

``docs/workers.md`` says how. Nothing here imports an event loop, pydantic or ``typing``: a worker stays below 5 MB.
"""

from ..protocol.errors import InvalidParams, TurnFailed
from .sdk import run
from .turn import Cancelled, Item, Turn

__all__ = ["Cancelled", "InvalidParams", "Item", "Turn", "TurnFailed", "run"]
