"""Writes what a running turn says: in order, merged for a moment, never more in memory than a bound."""

import logging
from collections.abc import Callable
from typing import TypeVar

import trio

from ...protocol import rpc
from ...protocol.errors import DatabaseRefused, OutcomeUnknown, RoostError, StorageTrouble
from ..core.backoff import doubling
from ..core.said import Append, Change, End, Progress, Start, Update
from ..store import Store, Tx
from ..store.items import record
from ..waiting import awaited
from ..waiting.awaited import Once

log = logging.getLogger(__name__)

MERGE_TIME = 0.032
MERGE_BYTES = 16 * 1024
MOST_UNSAVED = 1024 * 1024
RETRY, LONGEST_RETRY = 0.25, 4.0
"""Seconds between two tries to write, doubling."""

T = TypeVar("T")


def _nothing() -> None: ...


async def persist(
    store: Store, operation: Callable[[Tx], T], *, twice: bool = True, delayed: Callable[[], None] = _nothing
) -> T:
    """Write until it is on disk: a change that must not be lost waits for a full disk to have room again.

    Args:
        twice: the operation done twice is the operation done once: it is tried again when its outcome is unknown.
        delayed: called when it could not be written at once.

    Raises:
        RoostError: the operation's own; OutcomeUnknown without ``twice``.
    """
    waits, failed = doubling(RETRY, LONGEST_RETRY), 0
    try:
        while True:
            try:
                result = await store.write(operation)
            except StorageTrouble as exc:
                if isinstance(exc, DatabaseRefused) or (isinstance(exc, OutcomeUnknown) and not twice):
                    raise
                if not failed:
                    log.error("not written yet, trying again: %s", exc)
                failed += 1
                store.stuck[operation] = exc
                delayed()
                await trio.sleep(next(waits))
            else:
                if failed:
                    log.info("written now, after %d tries in vain", failed)
                return result
    finally:
        store.stuck.pop(operation, None)


class Recorder:
    """For one turn. ``run`` alone writes.

    Attributes:
        sign_at: when the child last gave a sign of life.
    """

    def __init__(self, store: Store, turn: str, max_output: int) -> None:
        self.sign_at = trio.current_time()
        self.problem: RoostError | None = None
        """Why what the turn says can no longer be kept."""
        self.written = awaited.Change()
        """Told at each step, and with :attr:`problem`."""
        self._store = store
        self._turn = turn
        self._room = max_output
        self._pending: list[Change] = []
        self._size = 0
        self._more = Once()
        self._enough = Once()
        self._batch: list[Change] = []
        """The changes that are being written."""
        self._closing = False

    async def add(self, change: Change | None) -> None:
        """Keep ``change``; waits while more than 1 MiB is unsaved, which slows the child by its own pipe."""
        self.sign_at = trio.current_time()
        if change is None or self.problem is not None:
            return
        if isinstance(change, Append):
            change = self._fit(change)
            self._size += len(change.text)
            self._merge(change)
        else:
            if isinstance(change, Update):
                change = self._amended(change)
            self._size += _weight(change)
            self._pending.append(change)
            self._enough.set()  # only streamed text gains by waiting for more
        self._more.set()
        if self._size >= MERGE_BYTES:
            self._enough.set()
        while self._size >= MOST_UNSAVED and self.problem is None:
            await self.written.wait()

    async def add_whole(self, change: Change) -> None:
        """Keep ``change``, and all that was added before it; returns when they are on disk.

        Raises:
            RoostError: why they cannot be kept.
        """
        await self.add(change)
        self._enough.set()
        mine = self._pending
        while (mine is self._pending or mine is self._batch) and self.problem is None:
            await self.written.wait()
        if self.problem is not None:
            raise self.problem

    def _fit(self, change: Append) -> Append:
        """Past ``max_output`` bytes of a turn, output is counted and not kept."""
        if len(change.text) * 4 <= self._room:  # it fits whatever it holds: do not encode it to know
            self._room -= len(change.text) if change.text.isascii() else len(change.text.encode())
            return change
        data = change.text.encode("utf-8", "replace")
        text = data[: self._room].decode("utf-8", "ignore")
        kept = len(text.encode())
        self._room = self._room - kept if kept == len(data) else 0
        return change._replace(text=text, dropped=len(data) - kept)

    def _amended(self, change: Update) -> Update:
        if change.text is None:
            return change
        fitted = self._fit(Append(change.item, change.text))
        return change._replace(text=fitted.text, dropped=fitted.dropped)

    def _merge(self, change: Append) -> None:
        last = self._pending[-1] if self._pending else None
        if isinstance(last, Append) and last.item == change.item and len(last.text) + len(change.text) <= MERGE_BYTES:
            merged = last._replace(text=last.text + change.text, dropped=last.dropped + change.dropped)
            self._pending[-1] = merged
        else:
            self._pending.append(change)

    async def run(self) -> None:
        """Write until :meth:`close`. The first after a pause goes at once."""
        wrote_at = -MERGE_TIME
        while True:
            await self._more.wait()
            with trio.move_on_at(wrote_at + MERGE_TIME):
                await self._enough.wait()
            self._batch, self._pending, self._size = self._pending, [], 0
            self._more, self._enough = Once(), Once()
            if self._closing:
                self._more.set()
                self._enough.set()
            if self._batch and self.problem is None:
                await self._write(self._batch)
                wrote_at = trio.current_time()
            self._batch = []
            self.written.tell()
            if self._closing and not self._pending:
                return

    async def _write(self, batch: list[Change]) -> None:
        try:
            await persist(self._store, lambda tx: record(tx, self._turn, batch), twice=False)
        except RoostError as exc:
            # Sent again it might be doubled, left out there would be a hole: the turn says so instead.
            log.error("turn %s: what it says cannot be kept: %s", self._turn, exc)
            self.problem = exc

    def close(self) -> None:
        """No more will be added: ``run`` writes what is left and returns."""
        self._closing = True
        self._more.set()
        self._enough.set()


_WITH_DATA = (Start, End, Update)


def _weight(change: Change) -> int:
    """About how many bytes of memory it takes; a character may take four."""
    data = change.data if isinstance(change, _WITH_DATA) else None
    match change:
        case Start():
            text = change.title
        case Update():
            text = (change.title or "") + (change.text or "")
        case Progress():
            text = change.message
        case _:
            text = ""
    return 64 + 4 * len(text) + (len(rpc.pack(data)) if data else 0)
