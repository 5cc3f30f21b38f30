"""``daemon.*``: how the daemon is, also when its database is refused."""

import time
from functools import partial

from ....protocol.model import SessionState
from ....protocol.params import Done, Nothing
from ....protocol.service import DaemonStatsResult, DaemonStatusResult, ReloadResult, ShutdownParams, StorageStatus
from ...process.usage import Usage
from ..answer import Then
from ..client import Client, Rooms


def daemon_status(client: Client, params: Nothing) -> DaemonStatusResult:
    rooms, info = client.rooms, client.rooms.info
    # Sessions with a child, with queued turns or on hold are always in memory.
    records = None if rooms.refused else rooms.supervisor.records
    known = records.known() if records else []
    return DaemonStatusResult(
        pid=info.pid,
        version=info.version,
        phase=rooms.phase,
        started_at=info.started_at,
        uptime=int((time.monotonic() - rooms.started) * 1000),
        state_directory=info.state_directory,
        socket=info.socket,
        storage=_storage(rooms),
        sessions=sum(session.state not in (SessionState.idle, SessionState.failed) for session in known),
        running=len(records.running) if records else 0,
        queued=sum(session.queued for session in known),
        held=sum(session.hold is not None for session in known),
        clients=rooms.clients,
        subscriptions=len(rooms.hub),
        checks=list(info.checks),
    )


def _storage(rooms: Rooms) -> StorageStatus:
    # A small write may find room while a large one does not: a write that is stuck is a problem still.
    problem = rooms.refused or rooms.store.problem or next(iter(rooms.store.stuck.values()), None)
    return StorageStatus(
        ok=problem is None, path=rooms.info.database, problem=None if problem is None else problem.to_wire()
    )


async def daemon_stats(client: Client, params: Nothing) -> DaemonStatsResult:
    rooms = client.rooms
    if rooms.refused:
        return DaemonStatsResult(counters=rooms.counters, in_flight={}, processes=await Usage(None).measured())
    counters, in_flight = {**rooms.store.counters, **rooms.counters}, rooms.supervisor.in_flight()
    return DaemonStatsResult(counters=counters, in_flight=in_flight, processes=await rooms.supervisor.usage())


async def daemon_reload(client: Client, params: Nothing) -> ReloadResult:
    return await client.rooms.request_reload(client.author)


def daemon_shutdown(client: Client, params: ShutdownParams) -> Then:
    return Then(Done(), partial(client.rooms.request_shutdown, params.reason, client.author))
