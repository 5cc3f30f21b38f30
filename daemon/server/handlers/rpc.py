"""``hello`` and ``rpc.*``: the connection itself."""

from functools import cache

import trio

from ....protocol import rpc
from ....protocol.errors import ProtocolMismatch, TimedOut
from ....protocol.params import Done, Nothing
from ....protocol.service import PROTOCOL, CancelParams, HelloParams, HelloResult, LimitsInfo, ServerInfo
from ...core.result import MAX_RESULT
from ...waiting.deadline import in_thread
from ..answer import Packed
from ..client import Client

IMPORTING = 30.0
"""Seconds to import and make the document, when a client first asks for it."""
_importers = trio.CapacityLimiter(4)


def hello(client: Client, params: HelloParams) -> HelloResult:
    if params.protocol != PROTOCOL:
        text = f"the client speaks protocol {params.protocol} and this daemon {PROTOCOL}; run `roost daemon restart`"
        raise ProtocolMismatch(text, client=params.protocol, daemon=PROTOCOL)
    client.author = client.author.model_copy(update={"client": params.client.name})
    info = client.rooms.info
    return HelloResult(
        protocol=PROTOCOL,
        server=ServerInfo(name="roostd", version=info.version),
        capabilities=list(info.capabilities),
        limits=_limits(client),
    )


def _limits(client: Client) -> LimitsInfo:
    limits = client.rooms.settings.limits
    return LimitsInfo(
        frame=client.limits.frame,
        nesting=client.limits.nesting,
        pending=client.limits.pending,
        prompt=limits.prompt,
        result=MAX_RESULT,
        queue=limits.queue,
    )


async def rpc_discover(client: Client, params: Nothing) -> Packed:
    return Packed(await in_thread(_openrpc, within=IMPORTING, otherwise=_late, limiter=_importers))


def _late() -> bytes:
    raise TimedOut(f"the document was not made within {IMPORTING:g} s; look at the disk that roostd is installed on")


@cache
def _openrpc() -> bytes:
    # Imported, and made, when a client asks: both take longer than the loop may stand still.
    from ....protocol.openrpc import document

    return rpc.pack({"openrpc": document()})


def rpc_cancel(client: Client, params: CancelParams) -> Done:
    client.withdraw(params.msgid)
    return Done()
