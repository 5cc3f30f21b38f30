"""``daemon.*``: how the daemon is, also when its database is refused."""

import time
from functools import partial
from typing import TYPE_CHECKING

from ....protocol.methods import DaemonStatsResult, DaemonStatusResult, ReloadResult, ShutdownParams, StorageStatus
from ....protocol.model import Session, SessionState
from ....protocol.params import Done, Nothing
from ...process.usage import Usage
from ..answer import Then

if TYPE_CHECKING:
    from ..connection import Connection
    from ..server import Server


def daemon_status(client: "Connection", params: Nothing) -> DaemonStatusResult:
    server, info = client.server, client.server.info
    # Those with a child, with queued turns or on hold are always in memory.
    known: list[Session] = [] if server.refused else server.supervisor.records.known()
    return DaemonStatusResult(
        pid=info.pid,
        version=info.version,
        phase=server.phase,
        started_at=info.started_at,
        uptime=int((time.monotonic() - server.started) * 1000),
        state_directory=info.state_directory,
        socket=info.socket,
        storage=_storage(server),
        sessions=sum(session.state not in (SessionState.idle, SessionState.failed) for session in known),
        running=sum(session.turn is not None for session in known),
        queued=sum(session.queued for session in known),
        held=sum(session.hold is not None for session in known),
        clients=len(server.clients),
        subscriptions=len(server.hub),
        checks=list(info.checks),
    )


def _storage(server: "Server") -> StorageStatus:
    # A small write may find room while a large one does not: one that is stuck is a problem still.
    problem = server.refused or server.store.problem or next(iter(server.store.stuck.values()), None)
    return StorageStatus(
        ok=problem is None, path=server.info.database, problem=None if problem is None else problem.to_wire()
    )


async def daemon_stats(client: "Connection", params: Nothing) -> DaemonStatsResult:
    server = client.server
    if server.refused:
        return DaemonStatsResult(counters=server.counters, in_flight={}, processes=await Usage(None).measured())
    counters, in_flight = {**server.store.counters, **server.counters}, server.supervisor.in_flight()
    return DaemonStatsResult(counters=counters, in_flight=in_flight, processes=await server.supervisor.usage())


async def daemon_reload(client: "Connection", params: Nothing) -> ReloadResult:
    return await client.server.request_reload()


def daemon_shutdown(client: "Connection", params: ShutdownParams) -> Then:
    return Then(Done(), partial(client.server.request_shutdown, params.reason))
