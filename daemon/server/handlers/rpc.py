"""``hello`` and ``rpc.*``: the connection itself."""

from functools import cache
from typing import TYPE_CHECKING

import trio

from ....protocol import rpc
from ....protocol.errors import ProtocolMismatch, TimedOut
from ....protocol.methods import PROTOCOL, CancelParams, HelloParams, HelloResult, LimitsInfo, ServerInfo
from ....protocol.params import Done, Nothing
from ...core.result import MAX_RESULT
from ..answer import Packed

if TYPE_CHECKING:
    from ..connection import Connection

IMPORTING = 30.0
"""Seconds for what is imported when it is first asked for."""
_importers = trio.CapacityLimiter(4)


def hello(client: "Connection", params: HelloParams) -> HelloResult:
    if params.protocol != PROTOCOL:
        text = f"the client speaks protocol {params.protocol} and this daemon {PROTOCOL}; run `roost daemon restart`"
        raise ProtocolMismatch(text, client=params.protocol, daemon=PROTOCOL)
    client.author = client.author.model_copy(update={"client": params.client.name})
    info = client.server.info
    return HelloResult(
        protocol=PROTOCOL,
        server=ServerInfo(name="roostd", version=info.version),
        capabilities=list(info.capabilities),
        limits=_limits(client),
    )


def _limits(client: "Connection") -> LimitsInfo:
    limits = client.server.settings.limits
    return LimitsInfo(
        frame=client.limits.frame,
        nesting=client.limits.nesting,
        pending=client.limits.pending,
        prompt=limits.prompt,
        result=MAX_RESULT,
        queue=limits.queue,
    )


async def rpc_discover(client: "Connection", params: Nothing) -> Packed:
    with trio.move_on_after(IMPORTING):
        return Packed(await trio.to_thread.run_sync(_openrpc, limiter=_importers, abandon_on_cancel=True))
    raise TimedOut(f"the document was not made within {IMPORTING:g} s; look at the disk that roostd is installed on")


@cache
def _openrpc() -> bytes:
    # Imported, and made, by who asks: both take longer than the loop may stand still.
    from ....protocol.openrpc import document

    return rpc.pack({"openrpc": document()})


def rpc_cancel(client: "Connection", params: CancelParams) -> Done:
    client.withdraw(params.msgid)
    return Done()
