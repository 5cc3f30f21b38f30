"""Sessions with leftovers of a dead daemon that do not end: no child of them is started until those are gone."""

import logging
from collections.abc import Awaitable, Callable, Sequence

import trio

from ...protocol.errors import ProcessesLeft, RoostError
from ...protocol.model import SessionState
from ..core.backoff import doubling
from ..core.states import SessionEvent
from ..engines.engine import AGAIN, LONGEST, STUCK
from ..process.clearing import processes_left
from ..process.processes import Processes
from ..process.trees import Root
from ..store import Store, Tx, children, sessions
from .recorder import persist

log = logging.getLogger(__name__)


class Leftovers:
    """The leftovers of each session.

    Args:
        gone: called when a session may start again.
    """

    def __init__(self, store: Store, processes: Processes, gone: Callable[[], None]) -> None:
        self._store = store
        self._processes = processes
        self._gone = gone
        self._errors: dict[str, ProcessesLeft] = {}

    def admit(self, session: str) -> None:
        """Check that nothing of the session is left.

        Raises:
            ProcessesLeft: a process of it still lives.
        """
        if error := self._errors.get(session):
            raise error

    def enter(self, session: str, pids: Sequence[int]) -> None:
        """Let no child of the session start from now on."""
        self._errors[session] = processes_left(session, pids)

    async def outlast(self, session: str, roots: Sequence[Root]) -> None:
        """Kill and look again until nothing is left, however long that takes; then the session is idle."""
        mine = self._processes.leftovers[session] = [root for root in roots if root.owner == session]
        await outlasted(lambda: self._processes.end_owner(session), _nothing)
        del self._processes.leftovers[session]

        def settle(tx: Tx) -> None:
            for root in mine:
                children.ended(tx, root.owner, root.leaf, root.child.pid)
            if tx.session(session).state is SessionState.stopping:
                sessions.change(tx, session, SessionEvent.gone, reason="daemon_restart")

        await persist(self._store, settle)
        log.info("session %s: what a dead roostd left of it has ended", session)
        del self._errors[session]
        self._gone()


async def outlasted(end: Callable[[], Awaitable[None]], stuck: Callable[[RoostError], Awaitable[None]]) -> None:
    """Repeat ``end`` until it raises nothing of :data:`STUCK`, however long that takes; ``stuck`` is told of each."""
    for pause in doubling(AGAIN, LONGEST):
        try:
            return await end()
        except STUCK as exc:
            await stuck(exc)
        await trio.sleep(pause)


async def _nothing(error: RoostError) -> None:
    """The start has said it."""
