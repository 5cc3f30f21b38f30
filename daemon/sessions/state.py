"""The engine's state of a live session: told, saved, cleared."""

import logging

from ...protocol.errors import RoostError, SessionBusy
from ...protocol.events import CHECKPOINT_FAILED, CheckpointFailed
from ...protocol.model import DAEMON, Author, Checkpoint, Problem
from ..store import checkpoints
from .child import SessionChild
from .problem import problem_of
from .shared import Shared

log = logging.getLogger(__name__)


class EngineState:
    """Of one live session.

    Attributes:
        dirty: it may have changed since it was last saved.
        through: the last turn that it holds.
        unsaved: why the session's stop could not save it.
    """

    def __init__(self, shared: Shared, session_id: str, child: SessionChild) -> None:
        self.dirty = False
        self.through: str | None = None
        self.unsaved: Problem | None = None
        self._shared = shared
        self._session = session_id
        self._child = child

    async def told(self) -> tuple[bytes, str | None]:
        """A packed copy of it, and the last turn that it holds."""
        engine, running = self._child.engine, self._child.running
        assert engine is not None
        state, answered = await engine.state()
        if running.turn is not None and running.turn.turn.id == answered:  # its end may not be on disk yet
            return state, answered
        return state, self.through

    async def save(self, name: str = "latest", author: Author = DAEMON) -> Checkpoint:
        """Take it and keep it; returns when it is on disk."""
        running = self._child.running
        before = running.turn
        packed, through = await self.told()
        saved = await self._shared.store.write(
            lambda tx: checkpoints.save(tx, self._session, name=name, state=packed, through_turn=through, author=author)
        )
        if name == "latest" and before is None and running.turn is None:
            self.dirty = False
        return saved

    async def clear(self, author: Author) -> bool:
        """Empty it, in the child and where it is saved; always True.

        Raises:
            SessionBusy: a turn runs.
        """
        engine, running = self._child.engine, self._child.running
        if running.turn is not None:
            text = f"session {self._session} runs turn {running.turn.turn.id}; wait for it or cancel it first"
            raise SessionBusy(text, session=self._session, turn=running.turn.turn.id)
        assert engine is not None
        self.dirty = engine.saves  # it may be cleared though the child does not say so in time
        empty = await engine.clear()
        await self._shared.store.write(lambda tx: checkpoints.clear(tx, self._session, empty, author))
        record = self._shared.records.by_id(self._session)
        self.dirty, self.through = False, record.through_turn if record else None
        return True

    async def save_or_say(self) -> None:
        """Save it before the child ends. A state that cannot be saved is said, and lost. Never raises."""
        try:
            await self.save()
        except RoostError as exc:
            log.warning("session %s: its state could not be saved: %s", self._session, exc)
            self.unsaved = problem_of(exc)
            await self.say_unsaved(exc)

    async def say_unsaved(self, error: RoostError) -> None:
        """Record that it is lost. Never raises: it is in the log too."""
        data = CheckpointFailed(name="latest", problem=problem_of(error).to_wire())
        try:
            await self._shared.store.write(lambda tx: tx.emit(self._session, CHECKPOINT_FAILED, data))
        except RoostError as exc:
            log.warning("session %s: that its state is lost is not on disk: %s", self._session, exc)
