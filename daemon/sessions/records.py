"""The sessions in memory: changed by commits only, so that nobody sees what is not on disk."""

from bisect import bisect_right, insort
from collections.abc import Generator
from contextlib import contextmanager

import trio

from ...protocol import rpc
from ...protocol.model import Session, SessionState
from ..core.states import TURN
from ..store import Commit


class _Awaited:
    """The end of a turn, and how many wait for it."""

    def __init__(self) -> None:
        self.event = trio.Event()
        self.by = 0


class Records:
    """Sessions by id and by name. Not all need be here until :attr:`complete`."""

    def __init__(self) -> None:
        self.complete = False
        self.runnable: dict[str, None] = {}
        """Sessions that have a turn that may run; who waits longest is first."""
        self.deleted = 0
        """How many sessions were: what was read before may hold one that is not there any more."""
        self._sessions: dict[str, Session] = {}
        self._names: dict[str, str] = {}
        self._packed: dict[str, bytes] = {}
        self._order: list[tuple[int, str]] = []
        self._turn_ends: dict[str, _Awaited] = {}
        self._changes: dict[str, trio.Event] = {}

    def get(self, ref: str) -> Session | None:
        """By id or by name, if it is in memory."""
        return self._sessions.get(ref) or self._sessions.get(self._names.get(ref, ""))

    def by_id(self, session_id: str) -> Session | None:
        return self._sessions.get(session_id)

    def packed(self, session_id: str) -> bytes:
        """The record as a MessagePack map, packed once for each change."""
        packed = self._packed.get(session_id)
        if packed is None:
            packed = self._packed[session_id] = rpc.pack(self._sessions[session_id].to_wire())
        return packed

    def page(self, archived: bool, state: SessionState | None, limit: int, cursor: str) -> tuple[list[str], str | None]:
        """Ids, oldest first, and the cursor of the next page. Only when :attr:`complete`.

        Args:
            cursor: one that a page gave; '' for the first page.
        """
        at = bisect_right(self._order, _position(cursor)) if cursor else 0
        ids: list[str] = []
        for _created_at, session_id in self._order[at:]:
            session = self._sessions[session_id]
            if session.archived != archived or (state is not None and session.state != state):
                continue
            if len(ids) == limit:
                last = self._sessions[ids[-1]]
                return ids, f"{last.created_at}.{last.id}"
            ids.append(session_id)
        return ids, None

    def behind_others(self, session_id: str) -> None:
        """It had its turn: of those that have one more that may run, it is the last now."""
        if session_id in self.runnable:
            del self.runnable[session_id]
            self.runnable[session_id] = None

    def loaded(self, sessions: list[Session]) -> None:
        """What was read from the store, where memory has nothing newer."""
        for session in sessions:
            if session.id not in self._sessions:
                self._put(session)

    def apply(self, commit: Commit) -> None:
        """A commit is durable: let it be seen, and wake who waits for it."""
        for session_id, session in commit.sessions.items():
            if session is None:
                self._drop(session_id)
                self.deleted += 1
                for turn_id in tuple(self._turn_ends):
                    self._wake(turn_id)
            else:
                self._put(session)
            if (changed := self._changes.pop(session_id, None)) is not None:
                changed.set()
        for turn in commit.turns:
            if TURN.terminal(turn.state):
                self._wake(turn.id)

    @contextmanager
    def turn_end(self, turn_id: str) -> Generator[trio.Event]:
        """Set when the turn has ended or a session is deleted. Enter first, then look in the store."""
        awaited = self._turn_ends.setdefault(turn_id, _Awaited())
        awaited.by += 1
        try:
            yield awaited.event
        finally:
            awaited.by -= 1
            if not awaited.by and self._turn_ends.get(turn_id) is awaited:
                del self._turn_ends[turn_id]

    async def wait_changed(self, session_id: str) -> None:
        """Until the session's record changes once more."""
        event = self._changes.setdefault(session_id, trio.Event())
        try:
            await event.wait()
        finally:
            if self._changes.get(session_id) is event and not event.statistics().tasks_waiting:
                del self._changes[session_id]

    def known(self) -> list[Session]:
        return list(self._sessions.values())

    def _wake(self, turn_id: str) -> None:
        if awaited := self._turn_ends.pop(turn_id, None):
            awaited.event.set()

    def _put(self, session: Session) -> None:
        old = self._sessions.get(session.id)
        if old is None:
            insort(self._order, (session.created_at, session.id))
        elif old.name and self._names.get(old.name) == session.id:
            del self._names[old.name]
        self._sessions[session.id] = session
        self._packed.pop(session.id, None)
        if session.name and not session.archived:  # else the store knows whether another has the name now
            self._names[session.name] = session.id
        parked = session.hold is not None or session.archived or session.state is SessionState.failed
        if session.queued and not parked:
            self.runnable.setdefault(session.id)
        else:
            self.runnable.pop(session.id, None)

    def _drop(self, session_id: str) -> None:
        session = self._sessions.pop(session_id, None)
        if session is None:
            return
        self._order.remove((session.created_at, session.id))
        self._packed.pop(session_id, None)
        self.runnable.pop(session_id, None)
        if session.name and self._names.get(session.name) == session_id:
            del self._names[session.name]


def _position(cursor: str) -> tuple[int, str]:
    created_at, _, session_id = cursor.partition(".")
    return int(created_at), session_id
