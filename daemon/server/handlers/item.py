"""``item.*``: content too long for one message."""

from typing import TYPE_CHECKING

from ....protocol.methods import ItemReadParams, ItemReadResult
from ...store import reads

if TYPE_CHECKING:
    from ..connection import Connection


async def item_read(client: "Connection", params: ItemReadParams) -> ItemReadResult:
    data, following, size, kept = await client.read(
        lambda conn: reads.item_bytes(conn, params.item, params.offset, params.limit)
    )
    return ItemReadResult(data=data, next=following, bytes=size, kept=kept)
