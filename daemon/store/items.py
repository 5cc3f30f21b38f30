"""What a child says while its turn runs: items that start, grow and end, progress, usage. A batch is one operation."""

from collections.abc import Sequence
from typing import Any, TypeVar

from ...protocol import model
from ...protocol.errors import IllegalTransition, LimitReached
from ...protocol.events import (
    ITEM_DELTA,
    ITEM_ENDS,
    ITEM_STARTED,
    ITEM_UPDATED,
    TURN_PROGRESSED,
    TURN_USAGE_REPORTED,
    ItemDelta,
    ItemEnded,
    ItemStarted,
    ItemUpdated,
    Kind,
    TurnProgressed,
    TurnUsageReported,
)
from ...protocol.model import Item, ItemState, SessionState, Turn, TurnState, Usage
from ...protocol.rpc import pack
from ...protocol.worker import MOST_DATA
from ..core.said import Answered, Append, Asked, Change, End, Progress, Start, Update
from ..core.states import ITEM, ITEM_END, TURN, SessionEvent, TurnEvent
from . import content, sessions
from .rows import ITEMS
from .tx import Tx, item_not_found, turn_not_found

T = TypeVar("T")

MAX_DELTA = 256 * 1024
"""Bytes of text in one delta event; more is cut into several."""


def record(tx: Tx, turn_id: str, changes: Sequence[Change]) -> None:
    """Keep a batch of what a turn's child said; what comes after the turn's end is dropped.

    Raises:
        TurnNotFound, ItemNotFound, LimitReached: an event over 1 MiB.
        IllegalTransition: text or an end for an item that has ended.
    """
    row = tx.conn.execute("SELECT session, state FROM turns WHERE id = ?", (turn_id,)).fetchone()
    if row is None:
        raise turn_not_found(turn_id)
    if not TURN.terminal(TurnState(row[1])):
        batch = _Batch(tx, row[0], turn_id)
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
    tx.emit(item.session, ITEM_ENDS[state], ItemEnded(item=item.to_wire()), turn=item.turn)


class _Growth:
    """What a batch adds to one item: one piece of content, whatever number of deltas."""

    def __init__(self, kept: int, size: int) -> None:
        self.start = kept
        self.kept = kept
        self.bytes = size
        self.pieces: list[bytes] = []


class _Batch:
    """Changes of one turn."""

    def __init__(self, tx: Tx, session: str, turn: str) -> None:
        self._tx = tx
        self._session = session
        self._turn = turn
        self._growing: dict[str, _Growth] = {}
        self._progressed: Progress | None = None

    def add(self, change: Change) -> None:
        match change:
            case Append():
                self._append(change)
            case Start():
                self._start(change)
            case End():
                self._grow(change.item, self._growth(change.item))
                close(self._tx, self._tx.item(change.item), change.state, change.data)
                del self._growing[change.item]
            case Update():
                self._update(change)
            case Progress():
                self._progress(change)
            case Asked():
                self._step(TurnEvent.wait, SessionState.busy, SessionEvent.wait)
            case Answered():
                self._step(TurnEvent.resume, SessionState.waiting, SessionEvent.resume)
            case _:
                self._use(change.usage)

    def finish(self) -> None:
        for item, growth in self._growing.items():
            self._grow(item, growth)
        if self._progressed is not None:
            turn = self._tx.turn(self._turn)
            progress = model.Progress(message=self._progressed.message, fraction=self._progressed.fraction)
            self._tx.put_turn(turn.model_copy(update={"progress": progress}))

    def _start(self, start: Start) -> None:
        sql = "SELECT max(number) FROM items WHERE turn = ?"
        number = 1 + (self._tx.conn.execute(sql, (self._turn,)).fetchone()[0] or 0)
        item = Item(
            id=start.item,
            turn=self._turn,
            session=self._session,
            number=number,
            kind=start.kind,
            state=ItemState.in_progress,
            title=start.title,
            data=start.data,
            started_at=self._tx.now,
        )
        self._tx.put_item(item)
        begun: ItemStarted = {
            "item": item.id,
            "number": number,
            "kind": item.kind,
            "title": item.title,
            "data": item.data,
        }
        self._emit(ITEM_STARTED, begun)

    def _append(self, append: Append) -> None:
        growth = self._growth(append.item)
        data = append.text.encode()
        while data:
            cut = content.border(data, MAX_DELTA)
            piece, data = data[:cut], data[cut:]
            delta: ItemDelta = {"item": append.item, "start": growth.kept, "text": piece.decode()}
            self._emit(ITEM_DELTA, delta)
            growth.pieces.append(piece)
            growth.kept += cut
            growth.bytes += cut
        growth.bytes += append.dropped

    def _growth(self, id: str) -> _Growth:
        growth = self._growing.get(id)
        if growth is None:
            row = self._tx.conn.execute("SELECT state, kept, bytes FROM items WHERE id = ?", (id,)).fetchone()
            if row is None:
                raise item_not_found(id)
            if row[0] != ItemState.in_progress:
                text = f"item {id} is {row[0]} and takes nothing more; begin another"
                raise IllegalTransition(text, noun="item", item=id, state=row[0])
            growth = self._growing[id] = _Growth(row[1], row[2])
        return growth

    def _grow(self, item: str, growth: _Growth) -> None:
        conn = self._tx.conn
        if growth.pieces:
            content.append(conn, item, growth.start, b"".join(growth.pieces))
        conn.execute("UPDATE items SET kept = ?, bytes = ? WHERE id = ?", (growth.kept, growth.bytes, item))

    def _update(self, update: Update) -> None:
        item = self._tx.item(update.item)
        told: ItemUpdated = {"item": item.id}
        changed: dict[str, Any] = {}
        if update.title is not None:
            told["title"] = changed["title"] = update.title
        if update.data:
            told["data"] = update.data
            changed["data"] = _fitting(item, {**item.data, **update.data})
        if update.text is not None:
            told["text"] = update.text
            changed |= content.replaced(self._tx.conn, item, update.text, update.dropped)
        self._tx.put_item(item.model_copy(update=changed))
        self._emit(ITEM_UPDATED, told)

    def _progress(self, progress: Progress) -> None:
        """Each is an event; the turn's row has the last of the batch."""
        self._progressed = progress
        told: TurnProgressed = {"message": progress.message}
        if progress.fraction is not None:
            told["fraction"] = progress.fraction
        self._emit(TURN_PROGRESSED, told)

    def _use(self, used: Usage) -> None:
        turn = self._tx.turn(self._turn)
        turn = self._tx.put_turn(turn.model_copy(update={"usage": _sum(turn.usage, used)}))
        session = self._tx.session(self._session)
        self._tx.put_session(session.model_copy(update={"usage": _sum(session.usage, used)}))
        self._emit(TURN_USAGE_REPORTED, TurnUsageReported(usage=turn.usage.to_wire()))

    def _step(self, event: TurnEvent, if_state: SessionState, with_it: SessionEvent) -> None:
        """The turn waits, or goes on, and its session with it, unless that is being stopped."""
        turn = self._tx.turn(self._turn)
        self._tx.put_turn(turn.model_copy(update={"state": TURN.next(turn.state, event)}))
        if self._tx.session(self._session).state is if_state:
            sessions.change(self._tx, self._session, with_it, reason=f"turn_{event}")

    def _emit(self, kind: Kind[T], data: T) -> None:
        self._tx.emit(self._session, kind, data, turn=self._turn)


def _fitting(item: Item, data: dict[str, Any]) -> dict[str, Any]:
    """The data of an item is at most twice what one report may bring: its end brings more of it in one event."""
    if (size := len(pack(data))) > 2 * MOST_DATA:
        text = f"the data of item {item.id} would be {size} bytes and may be {2 * MOST_DATA}; start another item"
        raise LimitReached(text, item=item.id, bytes=size, limit=2 * MOST_DATA)
    return data


def _sum(one: Usage, other: Usage) -> Usage:
    costs = [cost for cost in (one.cost, other.cost) if cost is not None]
    return Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        reasoning_tokens=one.reasoning_tokens + other.reasoning_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        cost=sum(costs) if costs else None,
    )
