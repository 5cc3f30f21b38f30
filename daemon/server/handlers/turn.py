"""``turn.*``: prompts, their queue, their end."""

import sqlite3
from typing import TYPE_CHECKING

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
from ...store import reads
from ...waiting.deadline import in_time
from ..answer import Packed, fitting, packed_list

if TYPE_CHECKING:
    from ..connection import Connection

_FRAME = 1024
"""Bytes for what is around the records of a result."""


async def turn_send(client: "Connection", params: TurnSendParams) -> TurnSendResult:
    return await client.server.supervisor.prompts.send(params, client.author)


async def turn_get(client: "Connection", params: TurnGetParams) -> Packed:
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


async def turn_list(client: "Connection", params: TurnListParams) -> TurnListResult:
    session = await client.server.supervisor.registry.find(params.session)
    turns, following = await client.read(
        lambda conn: reads.turns(conn, session.id, params.state, params.limit, params.cursor, params.newest)
    )
    return TurnListResult(turns=turns, next=following)


async def turn_cancel(client: "Connection", params: TurnCancelParams) -> TurnCancelResult:
    supervisor = client.server.supervisor
    turn = await supervisor.find_turn(params.turn)
    return await supervisor.prompts.cancel(turn.id, params.reason, client.author)


async def turn_edit(client: "Connection", params: TurnEditParams) -> TurnResult:
    supervisor = client.server.supervisor
    turn = await supervisor.find_turn(params.turn)
    return TurnResult(turn=await supervisor.edit(turn.id, params.input))


async def turn_move(client: "Connection", params: TurnMoveParams) -> TurnResult:
    supervisor = client.server.supervisor
    turn = await supervisor.find_turn(params.turn)
    before = None if params.before is None else (await supervisor.find_turn(params.before)).id
    return TurnResult(turn=await supervisor.move(turn.id, before))


async def turn_remove(client: "Connection", params: TurnParams) -> TurnResult:
    supervisor = client.server.supervisor
    turn = await supervisor.find_turn(params.turn)
    return TurnResult(turn=await supervisor.remove(turn.id))


async def turn_wait(client: "Connection", params: TurnWaitParams) -> TurnResult:
    supervisor = client.server.supervisor
    turn = await supervisor.find_turn(params.turn)
    return TurnResult(turn=await in_time(params.timeout, f"turn {turn.id}", supervisor.prompts.wait(turn.id)))
