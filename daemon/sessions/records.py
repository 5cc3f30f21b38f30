"""The sessions in memory: changed by commits only, so that nobody sees what is not on disk."""

from bisect import bisect_right, insort

import trio

from ...protocol import rpc
from ...protocol.model import Session, SessionState
from ..core.states import TURN
from ..store import Commit


class Records:
    """Sessions by id and by name. Not all need be here until :attr:`complete`."""

    def __init__(self) -> None:
        self.complete = False
        self.runnable: dict[str, None] = {}
        """Sessions that have a turn that may run, longest known first."""
        self._sessions: dict[str, Session] = {}
        self._names: dict[str, str] = {}
        self._packed: dict[str, bytes] = {}
        self._order: list[tuple[int, str]] = []
        self._turn_ends: dict[str, trio.Event] = {}
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
        """Ids, oldest first, and the cursor of the next page. Only when :attr:`complete`."""
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
                self._wake_all()
            else:
                self._put(session)
            _set(self._changes.pop(session_id, None))
        for turn in commit.turns:
            if TURN.terminal(turn.state):
                _set(self._turn_ends.pop(turn.id, None))

    def turn_end(self, turn_id: str) -> trio.Event:
        """Set when the turn has ended or its session is deleted. Ask for it first, then look in the store."""
        return self._turn_ends.setdefault(turn_id, trio.Event())

    def leave_turn_end(self, turn_id: str) -> None:
        """One who waited has left; the last one leaves nothing behind."""
        event = self._turn_ends.get(turn_id)
        if event is not None and not event.statistics().tasks_waiting:
            del self._turn_ends[turn_id]

    async def wait_changed(self, session_id: str) -> None:
        """Until the session's record changes once more."""
        event = self._changes.setdefault(session_id, trio.Event())
        try:
            await event.wait()
        finally:
            if self._changes.get(session_id) is event and not event.statistics().tasks_waiting:
                del self._changes[session_id]

    def live(self) -> list[Session]:
        return [s for s in self._sessions.values() if s.state not in (SessionState.idle, SessionState.failed)]

    def known(self) -> list[Session]:
        return list(self._sessions.values())

    def _wake_all(self) -> None:
        for event in self._turn_ends.values():
            event.set()
        self._turn_ends.clear()

    def _put(self, session: Session) -> None:
        old = self._sessions.get(session.id)
        if old is None:
            insort(self._order, (session.created_at, session.id))
        elif old.name and old.name != session.name and self._names.get(old.name) == session.id:
            del self._names[old.name]
        self._sessions[session.id] = session
        self._packed.pop(session.id, None)
        if session.name and not (session.archived and session.name in self._names):
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


def _set(event: trio.Event | None) -> None:
    if event is not None:
        event.set()


def _position(cursor: str) -> tuple[int, str]:
    created_at, _, session_id = cursor.partition(".")
    return (int(created_at) if created_at.isdigit() else 0, session_id)
