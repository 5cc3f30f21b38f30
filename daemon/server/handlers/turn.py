"""``turn.*``: prompts, their queue, their end."""

import sqlite3
from functools import partial

from ....protocol import rpc
from ....protocol.methods import (
    TurnCancelParams,
    TurnCancelResult,
    TurnEditParams,
    TurnGetParams,
    TurnListParams,
    TurnListResult,
    TurnMoveParams,
    TurnParams,
    TurnResult,
    TurnSendParams,
    TurnSendResult,
    TurnWaitParams,
)
from ....protocol.model import Item
from ...core.result import MAX_RESULT
from ...store import reads, turns
from ...waiting.deadline import in_time
from ..answer import Packed, fitting, packed_list
from ..client import Client

_FRAME = 1024
"""Bytes around the records of a result."""


async def turn_send(client: Client, params: TurnSendParams) -> TurnSendResult:
    return await client.rooms.supervisor.prompts.send(params, client.author)


async def turn_get(client: Client, params: TurnGetParams) -> Packed:
    return await client.read(lambda conn: _turn_and_items(conn, params.turn, params.after))


def _turn_and_items(conn: sqlite3.Connection, ref: str, after: int) -> Packed:
    turn = reads.turn(conn, ref)
    items, following = reads.items(conn, turn.id, after)
    record = turn.to_wire()
    room = MAX_RESULT - len(rpc.pack(record)) - _FRAME
    members = [rpc.pack(item.to_wire()) for item in items]
    count = fitting(members, room)
    if count == 0 and items:
        members[0], count = _cut(items[0], room), 1
    if count < len(items):
        following = items[count - 1].number
    return packed_list("items", members[:count], turn=record, next=following)


def _cut(item: Item, room: int) -> bytes:
    """An item beside a long prompt: without its content, which item.read gives, and its data as far as it fits."""
    cut = item.model_copy(update={"content": "", "tail": "", "truncated": True})
    packed = rpc.pack(cut.to_wire())
    if len(packed) > room:
        packed = rpc.pack(cut.model_copy(update={"data": {"truncated": True}}).to_wire())
    return packed


async def turn_list(client: Client, params: TurnListParams) -> TurnListResult:
    page = partial(
        reads.turns,
        session=params.session,
        state=params.state,
        limit=params.limit,
        cursor=params.cursor,
        newest=params.newest,
    )
    found, following = await client.read(page)
    return TurnListResult(turns=found, next=following)


async def turn_cancel(client: Client, params: TurnCancelParams) -> TurnCancelResult:
    return await client.rooms.supervisor.prompts.cancel(params.turn, params.reason, client.author)


async def turn_edit(client: Client, params: TurnEditParams) -> TurnResult:
    client.rooms.supervisor.prompts.check_size(params.input)
    return TurnResult(turn=await client.write(lambda tx: turns.edit(tx, params.turn, params.input, client.author)))


async def turn_move(client: Client, params: TurnMoveParams) -> TurnResult:
    return TurnResult(turn=await client.write(lambda tx: turns.move(tx, params.turn, params.before, client.author)))


async def turn_remove(client: Client, params: TurnParams) -> TurnResult:
    return TurnResult(turn=await client.write(lambda tx: turns.remove(tx, params.turn, client.author)))


async def turn_wait(client: Client, params: TurnWaitParams) -> TurnResult:
    ended = client.rooms.supervisor.prompts.wait(params.turn)
    return TurnResult(turn=await in_time(params.timeout, f"turn {params.turn}", ended))
