"""Everything that a session's child needs, read before it is spawned."""

import sqlite3
from typing import Any

from ...protocol import rpc
from ...protocol.errors import TurnNotFound
from ...protocol.model import Session
from ..engines.engine import Launch
from ..process.workspace import canonical
from ..store import checkpoints, reads, sessions
from .house import FILE_DEADLINE, House

HISTORY = 20
"""Turns that a child is told of at its start."""
BESIDE = 256 * 1024
"""Bytes of the message that restores a child, less its state and the prompt that was cut off; those two share the rest.
A state may have 15 MiB: then 768 KiB of that prompt are told."""


async def prepared(house: House, record: Session) -> Launch:
    """The launch of a child of this session.

    Raises:
        EngineNotFound, EngineFailed, WorkspaceInvalid, SecretMissing, StorageFailed
    """
    engine = house.engine_of(record)
    await canonical(record.workspace, files=house.files, deadline=FILE_DEADLINE)
    secret = await house.secrets(engine)
    own, state, history, cut_off = await house.store.read(lambda conn: _read(conn, record))
    env = {**own, **engine.env, **secret, "ROOST_SESSION": record.id}
    return Launch(record, engine, env, state, history, cut_off, house.stderr)


def _read(
    conn: sqlite3.Connection, record: Session
) -> tuple[dict[str, str], bytes | None, list[dict[str, Any]], dict[str, Any] | None]:
    saved = checkpoints.load(conn, record.id, "latest")
    state = saved[1] if saved else None
    room = rpc.Limits().frame - BESIDE - len(state or b"")
    return sessions.env(conn, record.id), state, reads.history(conn, record.id, HISTORY), _cut_off(conn, record, room)


def _cut_off(conn: sqlite3.Connection, record: Session, room: int) -> dict[str, Any] | None:
    """The turn of which its engine must be told that it was cut off; as much of its prompt as there is room for."""
    if not record.interrupted:
        return None
    try:
        turn = reads.turn(conn, record.interrupted)
    except TurnNotFound:  # retention has removed it
        return None
    input = turn.input.encode()[:room].decode(errors="ignore")
    return {"turn": turn.id, "number": turn.number, "input": input, "reason": turn.reason or ""}
