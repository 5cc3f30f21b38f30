"""``session.*``: children are the supervisor's work; answers asked for often are joined from packed records."""

from collections.abc import Coroutine
from typing import Any

from ....protocol.methods import (
    CheckpointListResult,
    CheckpointResult,
    SessionCheckpointParams,
    SessionCreateParams,
    SessionDeleteParams,
    SessionListParams,
    SessionParams,
    SessionReleaseResult,
    SessionResult,
    SessionStateParams,
    SessionStateResult,
    SessionStderrParams,
    SessionStderrResult,
    SessionStopParams,
    SessionStopResult,
    SessionUpdateParams,
    SessionWaitParams,
)
from ....protocol.params import Done
from ...store import checkpoints, sessions
from ...waiting.deadline import in_time
from ..answer import PAGE_BYTES, Packed, fitting, packed_list
from ..client import Client

_SESSION = b"\x81\xa7session"
"""``{"session": …}`` up to the record."""


async def session_create(client: Client, params: SessionCreateParams) -> SessionResult:
    return SessionResult(session=await client.rooms.supervisor.create(params, client.author))


def session_get(client: Client, params: SessionParams) -> Packed:
    return Packed(_SESSION + client.rooms.supervisor.records.packed(params.session))


def session_list(client: Client, params: SessionListParams) -> Packed | Coroutine[Any, Any, Packed]:
    return _list(client, params) if client.rooms.supervisor.records.complete else _load_and_list(client, params)


async def _load_and_list(client: Client, params: SessionListParams) -> Packed:
    await client.rooms.supervisor.load_all()
    return _list(client, params)


def _list(client: Client, params: SessionListParams) -> Packed:
    records = client.rooms.supervisor.records
    ids, following = records.page(params.archived, params.state, params.limit, params.cursor)
    members = [records.packed(session) for session in ids]
    count = max(fitting(members, PAGE_BYTES), 1)
    if count < len(members):
        _, following = records.page(params.archived, params.state, count, params.cursor)
    return packed_list("sessions", members[:count], next=following)


async def session_update(client: Client, params: SessionUpdateParams) -> SessionResult:
    updated = await client.write(
        lambda tx: sessions.update(
            tx,
            params.session,
            name=params.name,
            after=params.after,
            limits=params.limits,
            author=client.author,
        )
    )
    return SessionResult(session=updated)


async def session_start(client: Client, params: SessionParams) -> SessionResult:
    return SessionResult(session=await client.rooms.supervisor.start(params.session, client.author))


async def session_stop(client: Client, params: SessionStopParams) -> SessionStopResult:
    return await client.rooms.supervisor.stop(params.session, params.force, client.author)


async def session_state(client: Client, params: SessionStateParams) -> SessionStateResult:
    return await client.rooms.supervisor.checkpoints.state(params.session, params.name)


async def session_clear(client: Client, params: SessionParams) -> SessionResult:
    return SessionResult(session=await client.rooms.supervisor.checkpoints.clear(params.session, client.author))


async def session_checkpoint(client: Client, params: SessionCheckpointParams) -> CheckpointResult:
    saved = await client.rooms.supervisor.checkpoints.save(params.session, params.name, client.author)
    return CheckpointResult(checkpoint=saved)


async def session_checkpoints(client: Client, params: SessionParams) -> CheckpointListResult:
    return CheckpointListResult(checkpoints=await client.read(lambda conn: checkpoints.listing(conn, params.session)))


async def session_archive(client: Client, params: SessionParams) -> SessionStopResult:
    return await client.rooms.supervisor.archive(params.session, client.author)


async def session_unarchive(client: Client, params: SessionParams) -> SessionResult:
    return SessionResult(session=await client.write(lambda tx: sessions.unarchive(tx, params.session, client.author)))


async def session_delete(client: Client, params: SessionDeleteParams) -> Done:
    await client.rooms.supervisor.delete(params.session, params.force, client.author)
    return Done()


async def session_stderr(client: Client, params: SessionStderrParams) -> SessionStderrResult:
    return await client.rooms.supervisor.launches.stderr.read(params.session, params.offset, params.limit)


async def session_wait(client: Client, params: SessionWaitParams) -> SessionResult:
    settled = client.rooms.supervisor.wait_settled(params.session)
    return SessionResult(session=await in_time(params.timeout, f"the work of session {params.session}", settled))


async def session_release(client: Client, params: SessionParams) -> SessionReleaseResult:
    released, turns = await client.rooms.supervisor.release(params.session, client.author)
    return SessionReleaseResult(session=released, released=turns)
