"""Sessions of which a dead predecessor's processes do not end: none of them starts a child until those are gone."""

import logging
from collections.abc import Callable, Sequence

import trio

from ...protocol.errors import ProcessesLeft
from ...protocol.model import SessionState
from ..core.states import SessionEvent
from ..engines.engine import AGAIN, LONGEST, STUCK
from ..process.processes import Processes, processes_left
from ..process.trees import Root
from ..store import Store, Tx, children, sessions
from .recorder import persist

log = logging.getLogger(__name__)


class Left:
    """What is left of whom.

    Args:
        gone: called when a session may start again.
    """

    def __init__(self, store: Store, processes: Processes, gone: Callable[[], None]) -> None:
        self._store = store
        self._processes = processes
        self._gone = gone
        self._errors: dict[str, ProcessesLeft] = {}

    def admit(self, session: str) -> None:
        """Raises ProcessesLeft if something of the session still lives."""
        if error := self._errors.get(session):
            raise error

    def enter(self, session: str, pids: Sequence[int]) -> None:
        """From now on nothing is started for it."""
        self._errors[session] = processes_left(session, pids)

    async def outlast(self, session: str, roots: Sequence[Root]) -> None:
        """Kill and look again until nothing is left, however long that takes; then the session is idle."""
        mine = self._processes.inherited[session] = [root for root in roots if root.session == session]
        pause = AGAIN
        while not await self._cleared(session):
            await trio.sleep(pause)
            pause = min(2 * pause, LONGEST)
        del self._processes.inherited[session]

        def settle(tx: Tx) -> None:
            for root in mine:
                children.ended(tx, session, root.child.pid)
            if tx.session(session).state is SessionState.stopping:
                sessions.change(tx, session, SessionEvent.gone, reason="daemon_restart")

        await persist(self._store, settle)
        log.info("session %s: what a dead roostd left of it has ended", session)
        del self._errors[session]
        self._gone()

    async def _cleared(self, session: str) -> bool:
        try:
            await self._processes.clear(session)
        except STUCK:
            return False
        return True
