"""The sessions in memory: changed by commits only, so that no client sees what is not on disk."""

from bisect import bisect_right, insort

from ...protocol import rpc
from ...protocol.model import Session, SessionState
from ..core.states import TURN
from ..store import Commit
from ..waiting.awaited import Changes

_IDS = ("s", "s-")
"""How ids begin: a name that does might be the start of one, and the store is to tell."""


class Records:
    """Sessions by id and by name. Not all need be here until :attr:`complete`."""

    def __init__(self) -> None:
        self.complete = False
        self.runnable: dict[str, None] = {}
        """Sessions that have a turn that may run; the session that waits longest is first."""
        self.running: set[str] = set()
        """Sessions whose turn runs; a turn that waits for an answer does not."""
        self.deleted = 0
        """How many sessions were deleted: a read from before may hold a session that is not there any more."""
        self._sessions: dict[str, Session] = {}
        self._names: dict[str, set[str]] = {}
        """The sessions of each name, archived ones too."""
        self._sure: set[str] = set()
        """Names of which the store has no session that is not here."""
        self._packed: dict[str, bytes] = {}
        self._order: list[tuple[int, str]] = []
        self.changed: Changes[str] = Changes()
        """Of a session's record, by the session's id; the end of a turn, by the turn's."""

    def get(self, ref: str) -> Session | None:
        """By id, or by a name that no other session can have, if it is in memory."""
        found = self._sessions.get(ref)
        if found is None and (self.complete or ref in self._sure) and ref[:2] not in _IDS:
            named = self._names.get(ref, ())
            found = self._sessions[next(iter(named))] if len(named) == 1 else None
        return found

    def found(self, session: Session) -> None:
        """The store has no other session of this name; those that take it from now on come by a commit."""
        if session.name:
            self._sure.add(session.name)

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
            cursor: the cursor that a page gave; '' for the first page.
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
        """Take in sessions that were read from the store, where memory has nothing newer."""
        for session in sessions:
            if session.id not in self._sessions:
                self._put(session)

    def apply(self, commit: Commit) -> None:
        """A commit is durable: let it be seen, and wake the tasks that wait for it."""
        for session_id, session in commit.sessions.items():
            if session is None:
                self._drop(session_id)
                self.deleted += 1
                self.changed.tell_all()  # its turns are gone as well
            else:
                self._put(session)
                self.changed.tell(session_id)
        for turn in commit.turns:
            if TURN.terminal(turn.state):
                self.changed.tell(turn.id)

    def known(self) -> list[Session]:
        return list(self._sessions.values())

    def _put(self, session: Session) -> None:
        old = self._sessions.get(session.id)
        if old is None:
            insort(self._order, (session.created_at, session.id))
        elif old.name != session.name:
            self._unname(old)
        self._sessions[session.id] = session
        self._packed.pop(session.id, None)
        if session.name:
            self._names.setdefault(session.name, set()).add(session.id)
        parked = session.hold is not None or session.archived or session.state is SessionState.failed
        if session.queued and not parked:
            self.runnable.setdefault(session.id)
        else:
            self.runnable.pop(session.id, None)
        if session.turn is not None and session.state is not SessionState.waiting:
            self.running.add(session.id)
        else:
            self.running.discard(session.id)

    def _drop(self, session_id: str) -> None:
        session = self._sessions.pop(session_id, None)
        if session is None:
            return
        self._order.remove((session.created_at, session.id))
        self._packed.pop(session_id, None)
        self.runnable.pop(session_id, None)
        self.running.discard(session_id)
        self._unname(session)

    def _unname(self, session: Session) -> None:
        named = self._names.get(session.name or "", set())
        named.discard(session.id)
        if not named:
            self._names.pop(session.name or "", None)


def _position(cursor: str) -> tuple[int, str]:
    created_at, _, session_id = cursor.partition(".")
    return int(created_at), session_id
