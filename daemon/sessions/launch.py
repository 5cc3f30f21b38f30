"""Everything that a session's child needs, read before it is spawned."""

import sqlite3
from typing import Any

from ...protocol.errors import TurnNotFound
from ...protocol.model import Session
from ..engines.engine import Launch
from ..process.workspace import canonical
from ..store import checkpoints, reads, sessions
from .house import FILE_DEADLINE, House

HISTORY = 20
"""Turns that a child is told of at its start."""
MOST_INPUT = 1024 * 1024
"""Bytes of the prompt that was cut off: it stands in one message with the state."""


async def prepared(house: House, record: Session) -> Launch:
    """The launch of a child of this session.

    Raises:
        EngineNotFound, EngineFailed, WorkspaceInvalid, SecretMissing, StorageFailed
    """
    engine = house.engine_of(record)
    await canonical(record.workspace, files=house.files, deadline=FILE_DEADLINE)
    secret = await house.secrets(engine)
    own, state, history, cut_off = await house.store.read(lambda conn: _read(conn, record))
    roosts = {"ROOST_SESSION": record.id, "ROOST_DAEMON": house.processes.socket}
    return Launch(record, engine, {**own, **engine.env, **secret, **roosts}, state, history, cut_off, house.stderr)


def _read(
    conn: sqlite3.Connection, record: Session
) -> tuple[dict[str, str], bytes | None, list[dict[str, Any]], dict[str, Any] | None]:
    saved = checkpoints.load(conn, record.id, "latest")
    history = reads.history(conn, record.id, HISTORY)
    return sessions.env(conn, record.id), saved[1] if saved else None, history, _cut_off(conn, record)


def _cut_off(conn: sqlite3.Connection, record: Session) -> dict[str, Any] | None:
    """The turn of which its engine must be told that it was cut off."""
    if not record.interrupted:
        return None
    try:
        turn = reads.turn(conn, record.interrupted)
    except TurnNotFound:  # retention has removed it
        return None
    input = turn.input.encode()[:MOST_INPUT].decode(errors="ignore")
    return {"turn": turn.id, "number": turn.number, "input": input, "reason": turn.reason or ""}
