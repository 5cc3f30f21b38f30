"""The contract between a resident engine and the protocol that its child speaks."""

from collections.abc import Callable
from typing import Protocol

from ...protocol.errors import RoostError, WorkerViolation
from ...protocol.model import Turn
from .engine import Ended, Grace, Launch, Listener, Told
from .line import Line


class Life(Protocol):
    """The life of a child, as its dialect sees it."""

    def lost(self) -> RoostError:
        """Why the child cannot be spoken with."""
        ...

    def broken(self, breach: WorkerViolation) -> None:
        """The child broke its protocol: it is killed."""


class Dialect(Protocol):
    """The protocol of one resident child. Every method may raise :class:`RoostError`."""

    line: Line

    @property
    def saves(self) -> bool:
        """The child has a state that can be saved."""
        ...

    async def greet(self, launch: Launch) -> None:
        """Agree with a new child on how it is used; returns when it can run turns."""

    async def run(self, turn: Turn) -> Ended: ...

    async def cancel(self, turn: Turn, reason: str) -> None: ...

    async def state(self) -> Told: ...

    async def clear(self) -> bytes | None: ...

    async def dismiss(self, within: float) -> None:
        """Ask the child to end; ``within`` in seconds."""


Speaks = Callable[[Launch, Listener, Grace, Life], Dialect]
"""Makes the dialect of one child."""
