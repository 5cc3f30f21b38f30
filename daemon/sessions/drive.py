"""A drive: a session's child is started if need be, and its next turn begins."""

import logging

from ...protocol.errors import (
    ProcessesLeft,
    RoostError,
    SessionArchived,
    SessionFailed,
    SessionNotFound,
    ShuttingDown,
    StorageTrouble,
)
from ..store import Tx, queue, turns
from .problem import problem_of
from .registry import Registry

log = logging.getLogger(__name__)


async def drive(registry: Registry, session_id: str) -> bool | None:
    """Have the session's next turn begin. None: it has; True: it has none; False: it failed, which asks for a pause."""
    try:
        live = None
        while live is None:
            if session_id not in registry.records.runnable:  # stopped meanwhile: it is to stay so
                return True
            live = await registry.ensured(session_id)
    except (ShuttingDown, SessionNotFound):
        return True
    except (SessionArchived, SessionFailed, ProcessesLeft, StorageTrouble):
        return False
    except RoostError as exc:
        live = registry.live.get(session_id)
        if live is None or live.child.stuck_by is None:  # else the session that it waits for may still end
            await _fail_next(registry, session_id, exc)
        return False
    try:
        running = await live.ask(live.next_turn, otherwise=None)
    except RoostError as exc:
        log.info("session %s: no turn was started: %s", session_id, exc)
        return False
    if running is None:
        return live.failure is None
    return None


async def _fail_next(registry: Registry, session_id: str, error: RoostError) -> None:
    """Its engine cannot be started: the turn that wanted it fails with that reason, unless it is parked."""
    problem = problem_of(error)

    def operation(tx: Tx) -> None:
        if queue.held(tx.session(session_id)) is None and (turn := queue.first(tx, session_id)):
            turns.fail_queued(tx, turn.id, problem)

    try:
        await registry.store.write(operation)
    except (SessionNotFound, StorageTrouble) as exc:
        log.info("session %s: its turn is tried again: %s", session_id, exc)
