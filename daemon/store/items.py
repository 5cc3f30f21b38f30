"""What a child says while its turn runs: items that start, grow and end, progress, usage. A batch is one operation."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...protocol.errors import IllegalTransition
from ...protocol.model import Item, ItemKind, ItemState, Turn, TurnState, Usage
from ..core.states import ITEM, ITEM_END, TURN
from . import content
from .rows import ITEMS
from .tx import Tx

MAX_DELTA = 256 * 1024
"""Bytes of text in one delta event; more is cut into several."""


class Start(NamedTuple):
    """An item begins; ``item`` is an id made by the caller."""

    item: str
    kind: ItemKind
    title: str
    data: dict[str, Any]


class Append(NamedTuple):
    """Text of an item. ``dropped``: bytes past ``max_output`` that are counted and not kept."""

    item: str
    text: str
    dropped: int = 0


class End(NamedTuple):
    """An item ends; ``data`` is added to what it began with."""

    item: str
    state: ItemState
    data: dict[str, Any]


class Progress(NamedTuple):
    """``fraction`` from 0 to 1, if the engine knows."""

    message: str
    fraction: float | None


class UsageReport(NamedTuple):
    """What was used since the last report."""

    usage: Usage


Change = Start | Append | End | Progress | UsageReport


def record(tx: Tx, turn_id: str, changes: Sequence[Change]) -> None:
    """Keep a batch of what a turn's child said; what comes after the turn's end is dropped.

    Raises:
        TurnNotFound, ItemNotFound, LimitReached: an event over 1 MiB.
        IllegalTransition: text or an end for an item that has ended.
    """
    turn = tx.turn(turn_id)
    if not TURN.terminal(turn.state):
        batch = _Batch(tx, turn)
        for change in changes:
            batch.add(change)
        batch.finish()


def settle(tx: Tx, turn: Turn, state: TurnState) -> None:
    """End what is still open of a turn that ends, in the same way as the turn."""
    for item in ITEMS.all(tx.conn, "WHERE turn = ? AND state = 'in_progress' ORDER BY number", (turn.id,)):
        close(tx, item, ItemState(state.value), {})


def close(tx: Tx, item: Item, state: ItemState, data: dict[str, Any]) -> None:
    """End one item: its content moves into its record."""
    state = ITEM.next(item.state, ITEM_END[state])
    whole = content.grown(tx.conn, item)
    content.drop_inline(tx.conn, item)
    ended = {"state": state, "data": {**item.data, **data}, "ended_at": tx.now}
    item = tx.put_item(whole.model_copy(update=ended))
    tx.emit(item.session, f"item.{state}", {"item": item.to_wire()}, turn=item.turn)


class _Batch:
    """Changes of one turn; each item's row is written once."""

    def __init__(self, tx: Tx, turn: Turn) -> None:
        self._tx = tx
        self._turn = turn
        self._grown: dict[str, Item] = {}

    def add(self, change: Change) -> None:
        match change:
            case Start():
                self._start(change)
            case Append():
                self._append(change)
            case End():
                close(self._tx, self._open(change.item), change.state, change.data)
                self._grown.pop(change.item, None)
            case Progress(message, fraction):
                known = {} if fraction is None else {"fraction": fraction}
                self._emit("turn.progressed", {"message": message, **known})
            case UsageReport(usage):
                self._use(usage)

    def finish(self) -> None:
        for item in self._grown.values():
            self._tx.put_item(item)

    def _start(self, start: Start) -> None:
        sql = "SELECT max(number) FROM items WHERE turn = ?"
        number = 1 + (self._tx.conn.execute(sql, (self._turn.id,)).fetchone()[0] or 0)
        item = Item(
            id=start.item,
            turn=self._turn.id,
            session=self._turn.session,
            number=number,
            kind=start.kind,
            state=ItemState.in_progress,
            title=start.title,
            data=start.data,
            started_at=self._tx.now,
        )
        self._grown[item.id] = self._tx.put_item(item)
        begun = {"item": item.id, "number": number, "kind": item.kind, "title": item.title, "data": item.data}
        self._emit("item.started", begun)

    def _append(self, append: Append) -> None:
        item = self._open(append.item)
        data = append.text.encode()
        while data:
            cut = content.border(data, MAX_DELTA)
            piece, data = data[:cut], data[cut:]
            content.append(self._tx.conn, item.id, item.kept, piece)
            self._emit("item.delta", {"item": item.id, "start": item.kept, "text": piece.decode()})
            item = item.model_copy(update={"kept": item.kept + cut, "bytes": item.bytes + cut})
        self._grown[item.id] = item.model_copy(update={"bytes": item.bytes + append.dropped})

    def _open(self, id: str) -> Item:
        item = self._grown.get(id) or self._tx.item(id)
        if ITEM.terminal(item.state):
            raise IllegalTransition(
                f"item {id} is {item.state} and takes nothing more", noun="item", item=id, state=str(item.state)
            )
        return item

    def _use(self, used: Usage) -> None:
        self._turn = self._tx.put_turn(self._turn.model_copy(update={"usage": _sum(self._turn.usage, used)}))
        session = self._tx.session(self._turn.session)
        self._tx.put_session(session.model_copy(update={"usage": _sum(session.usage, used)}))
        self._emit("turn.usage_reported", {"usage": self._turn.usage.to_wire()})

    def _emit(self, kind: str, data: dict[str, Any]) -> None:
        self._tx.emit(self._turn.session, kind, data, turn=self._turn.id)


def _sum(one: Usage, other: Usage) -> Usage:
    costs = [cost for cost in (one.cost, other.cost) if cost is not None]
    return Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        reasoning_tokens=one.reasoning_tokens + other.reasoning_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        cost=sum(costs) if costs else None,
    )
