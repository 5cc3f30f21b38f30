"""The answers from outside that a turn's engine waits for: while there are any, the turn waits and has no place."""

from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

import trio

from ...protocol.errors import RequestCancelled, RoostError
from ...protocol.model import Turn
from ..core.said import Answered, Asked
from ..waiting.awaited import Change
from .places import Places
from .recorder import Recorder

T = TypeVar("T")


class Waits:
    """Of one turn. :meth:`run` alone has the turn wait and go on.

    Attributes:
        open: how many answers are waited for. changed: told when the turn begins to wait, and when it goes on.
    """

    def __init__(self, turn: Turn, recorder: Recorder, places: Places) -> None:
        self.open = 0
        self.changed = Change()
        self._turn = turn
        self._recorder = recorder
        self._places = places
        self._state: Literal["running", "waiting", "resuming"] = "running"
        self._scopes: set[trio.CancelScope] = set()
        self._over = False

    @property
    def waiting(self) -> bool:
        """The turn waits, or is about to; the clock of a silent child stands."""
        return self.open > 0 or self._state != "running"

    async def until(self, answer: Callable[[], Awaitable[T]]) -> T:
        """Run ``answer`` while the turn waits; returns when the turn runs again, or waits for other answers.

        Raises:
            RequestCancelled: the turn is ending.
        """
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            if self._over:
                scope.cancel()
            try:
                result = await self._answered(answer)
                while not self.open and self._state != "running":
                    await self.changed.wait()
                return result
            finally:
                self._scopes.discard(scope)
                self.changed.tell()
        raise RequestCancelled(f"turn {self._turn.id} is ending: nothing is answered any more", turn=self._turn.id)

    async def _answered(self, answer: Callable[[], Awaitable[T]]) -> T:
        self.open += 1
        self.changed.tell()
        try:
            while self._state != "waiting":
                await self.changed.wait()
            return await answer()
        finally:
            self.open -= 1
            self.changed.tell()

    def end(self) -> None:
        """The turn is ending: nothing is waited for any more."""
        self._over = True
        for scope in self._scopes:
            scope.cancel()

    async def wait_ended(self) -> None:
        """Until each task that waited has been told of the end."""
        while self._scopes:
            await self.changed.wait()

    async def run(self) -> None:
        """Have the turn wait and go on, until it is cancelled with the turn's end."""
        try:
            while True:
                if self._state == "running" and self.open:
                    await self._recorder.add_whole(Asked())
                    self._tell("waiting")
                elif self._state == "waiting" and not self.open and not self._over:
                    await self._go_on()
                else:
                    await self.changed.wait()
        except RoostError:
            pass  # the recorder's problem ends the turn

    async def _go_on(self) -> None:
        await self._places.take(self._turn.session)
        if self.open:  # the engine has asked for more meanwhile
            self._places.give_back(self._turn.session)
            return
        self._state = "resuming"
        await self._recorder.add_whole(Answered())
        self._places.begun(self._turn.session)
        self._tell("running")

    def _tell(self, state: Literal["running", "waiting"]) -> None:
        self._state = state
        self.changed.tell()
