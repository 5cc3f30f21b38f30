"""``session.*``: most is the supervisor's work; what is asked for most often is joined from packed records."""

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

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
from ...store import checkpoints
from ...waiting.deadline import in_time
from ..answer import PAGE_BYTES, Packed, fitting, packed_list

if TYPE_CHECKING:
    from ..connection import Connection

_SESSION = b"\x81\xa7session"
"""``{"session": …}`` up to the record."""


async def session_create(client: "Connection", params: SessionCreateParams) -> SessionResult:
    return SessionResult(session=await client.server.supervisor.create(params, client.author))


def session_get(client: "Connection", params: SessionParams) -> Packed | Coroutine[Any, Any, SessionResult]:
    records = client.server.supervisor.records
    session = records.get(params.session)
    return _find(client, params.session) if session is None else Packed(_SESSION + records.packed(session.id))


async def _find(client: "Connection", ref: str) -> SessionResult:
    return SessionResult(session=await client.server.supervisor.registry.find(ref))


def session_list(client: "Connection", params: SessionListParams) -> Packed | Coroutine[Any, Any, Packed]:
    return _list(client, params) if client.server.supervisor.records.complete else _load_and_list(client, params)


async def _load_and_list(client: "Connection", params: SessionListParams) -> Packed:
    await client.server.supervisor.load_all()
    return _list(client, params)


def _list(client: "Connection", params: SessionListParams) -> Packed:
    records = client.server.supervisor.records
    ids, following = records.page(params.archived, params.state, params.limit, params.cursor)
    members = [records.packed(session) for session in ids]
    count = max(fitting(members, PAGE_BYTES), 1)
    if count < len(members):
        _, following = records.page(params.archived, params.state, count, params.cursor)
    return packed_list("sessions", members[:count], next=following)


async def session_update(client: "Connection", params: SessionUpdateParams) -> SessionResult:
    supervisor = client.server.supervisor
    session = await supervisor.registry.find(params.session)
    return SessionResult(session=await supervisor.update(session.id, params))


async def session_start(client: "Connection", params: SessionParams) -> SessionResult:
    supervisor = client.server.supervisor
    session = await supervisor.registry.find(params.session)
    return SessionResult(session=await supervisor.start(session.id))


async def session_stop(client: "Connection", params: SessionStopParams) -> SessionStopResult:
    supervisor = client.server.supervisor
    session = await supervisor.registry.find(params.session)
    return await supervisor.stop(session.id, params.force)


async def session_state(client: "Connection", params: SessionStateParams) -> SessionStateResult:
    supervisor = client.server.supervisor
    session = await supervisor.registry.find(params.session)
    return await supervisor.checkpoints.state(session.id, params.name)


async def session_clear(client: "Connection", params: SessionParams) -> SessionResult:
    supervisor = client.server.supervisor
    session = await supervisor.registry.find(params.session)
    return SessionResult(session=await supervisor.checkpoints.clear(session.id))


async def session_checkpoint(client: "Connection", params: SessionCheckpointParams) -> CheckpointResult:
    supervisor = client.server.supervisor
    session = await supervisor.registry.find(params.session)
    return CheckpointResult(checkpoint=await supervisor.checkpoints.save(session.id, params.name))


async def session_checkpoints(client: "Connection", params: SessionParams) -> CheckpointListResult:
    session = await client.server.supervisor.registry.find(params.session)
    return CheckpointListResult(checkpoints=await client.read(lambda conn: checkpoints.listing(conn, session.id)))


async def session_archive(client: "Connection", params: SessionParams) -> SessionStopResult:
    supervisor = client.server.supervisor
    session = await supervisor.registry.find(params.session)
    return await supervisor.archive(session.id)


async def session_unarchive(client: "Connection", params: SessionParams) -> SessionResult:
    supervisor = client.server.supervisor
    session = await supervisor.registry.find(params.session)
    return SessionResult(session=await supervisor.unarchive(session.id))


async def session_delete(client: "Connection", params: SessionDeleteParams) -> Done:
    supervisor = client.server.supervisor
    session = await supervisor.registry.find(params.session)
    await supervisor.delete(session.id, params.force)
    return Done()


async def session_stderr(client: "Connection", params: SessionStderrParams) -> SessionStderrResult:
    supervisor = client.server.supervisor
    session = await supervisor.registry.find(params.session)
    return await supervisor.launches.stderr.read(session.id, params.offset, params.limit)


async def session_wait(client: "Connection", params: SessionWaitParams) -> SessionResult:
    supervisor = client.server.supervisor
    session = await supervisor.registry.find(params.session)
    what = f"the work of session {session.id}"
    return SessionResult(session=await in_time(params.timeout, what, supervisor.wait_settled(session.id)))


async def session_release(client: "Connection", params: SessionParams) -> SessionReleaseResult:
    supervisor = client.server.supervisor
    session = await supervisor.registry.find(params.session)
    released, turns = await supervisor.release(session.id)
    return SessionReleaseResult(session=released, released=turns)
