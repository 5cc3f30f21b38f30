"""Restart intensity: after too many unwanted ends in a period a session has failed, until it is re-armed."""

import trio

from ...protocol.model import DAEMON, Author, Problem, SessionState
from ..core.intensity import allowed
from ..core.states import SessionEvent
from ..current import Current
from ..store import Store, Tx, sessions
from .recorder import persist
from .records import Records


class Restarts:
    """Counts the unwanted ends of children."""

    def __init__(self, settings: Current, store: Store, records: Records) -> None:
        self._settings = settings
        self._store = store
        self._records = records
        self._deaths: dict[str, tuple[float, ...]] = {}
        self._failed_at: dict[str, float] = {}

    async def count(self, session_id: str, problem: Problem) -> None:
        """The session's child has ended, or could not be started; after too many, the session is failed."""
        limits, now = self._settings.sessions, trio.current_time()
        self._deaths = {id: ends for id, ends in self._deaths.items() if now - ends[-1] <= limits.restart_period}
        ok, ends = allowed(self._deaths.get(session_id, ()), now, limits.restart_intensity, limits.restart_period)
        self._deaths[session_id] = ends

        def give_up(tx: Tx) -> None:
            if tx.session(session_id).state is SessionState.idle:
                sessions.change(tx, session_id, SessionEvent.give_up, reason="restart_limit", problem=problem)

        if not ok or len(ends) >= limits.restart_intensity:
            self._failed_at[session_id] = now  # not when it failed before it was re-armed
            await persist(self._store, give_up)

    async def rearm(self, session_id: str, author: Author = DAEMON) -> None:
        """A session that failed may be tried again.

        Raises:
            StorageTrouble
        """
        self.forget(session_id)

        def operation(tx: Tx) -> None:
            if tx.session(session_id).state is SessionState.failed:
                sessions.change(tx, session_id, SessionEvent.rearm, reason="rearmed", author=author)

        record = self._records.by_id(session_id)
        if record is not None and record.state is SessionState.failed:
            await self._store.write(operation)

    def forget(self, session_id: str) -> None:
        """Its ends are not remembered."""
        self._deaths.pop(session_id, None)

    def failed_long_ago(self) -> list[str]:
        """The failed sessions whose time to be tried again has come."""
        now = trio.current_time()
        failed = [session.id for session in self._records.known() if session.state is SessionState.failed]
        self._failed_at = {session_id: self._failed_at.get(session_id, now) for session_id in failed}
        return [id for id, at in self._failed_at.items() if now - at >= self._settings.sessions.rearm]
