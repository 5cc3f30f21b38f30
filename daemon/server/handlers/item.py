"""``item.*``: content too long for one message."""

from ....protocol.methods import ItemReadParams, ItemReadResult
from ...store import reads
from ..client import Client


async def item_read(client: Client, params: ItemReadParams) -> ItemReadResult:
    data, following, size, kept = await client.read(
        lambda conn: reads.item_bytes(conn, params.item, params.offset, params.limit)
    )
    return ItemReadResult(data=data, next=following, bytes=size, kept=kept)
