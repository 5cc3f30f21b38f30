"""One turn as a worker's function sees it: what was asked, whether it is cancelled, and how to report."""

from __future__ import annotations

import codecs
import sys
import threading
from collections.abc import Callable, Iterator

from ..protocol import rpc
from ..protocol.errors import LocalProtocolError
from ..protocol.record import Record
from ..protocol.worker import ITEM_KINDS, ITEM_STATES, MOST_DATA, MOST_OPEN, MOST_TEXT, MOST_USED, TO_DAEMON, check
from .channel import Channel, read_back

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    from typing import Any

DELTA_BYTES = 65536
"""The longest piece of text in one message, in UTF-8."""


class Cancelled(Exception):
    """The turn was cancelled. A function may let it pass: the turn then ends as cancelled."""


class Session(Record):
    """The session that a worker serves."""

    __slots__ = __match_args__ = ("id", "workspace", "history")

    def __init__(self, id: str, workspace: str, history: list[dict[str, Any]]) -> None:
        self.id = id
        self.workspace = workspace
        self.history = history


class Turn:
    """One prompt, and the way to report what comes of it.

    Attributes:
        id, number, input: the turn's id, its number in the session (from 1) and its prompt.
        session, workspace, history: the session's id, its directory, and its last turns, oldest first,
            at most 20, each ``{turn, number, input, state}`` with the first 2,000 characters of its prompt.
        interrupted: ``{turn, input, reason}`` if the turn before this one was cut off; only the next turn is told.
        cancelled: is set when the turn is to end. cancel_reason: why; empty until then.
        exit_code: set it to report one with a turn that completes.
        reporting: is held while something is reported.
    """

    def __init__(
        self, channel: Channel, session: Session, params: dict[str, Any], interrupted: dict[str, Any] | None
    ) -> None:
        self.id: str = params["turn"]
        self.number: int = params["number"]
        self.input: str = params["input"]
        self.session, self.workspace, self.history = session.id, session.workspace, session.history
        self.interrupted = interrupted
        self.cancelled = threading.Event()
        self.cancel_reason = ""
        self.exit_code: int | None = None
        self.reporting = threading.RLock()
        self._channel = channel
        self._cancelling = threading.Lock()
        self._on_cancel: list[Callable[[], object]] = []
        self._over = False
        self._open: dict[str, Item] = {}
        self._items = 0

    def __repr__(self) -> str:
        state = "over" if self._over else "cancelled" if self.cancelled.is_set() else "running"
        return f"<Turn {self.id} number={self.number} {state}>"

    def item(self, kind: str, title: str = "", **data: Any) -> Item:
        """Start an item: ``with turn.item("agent_message") as item: item.write("hello")``.

        Raises:
            ValueError: there is no such kind, or ``data`` is too large. LocalProtocolError: it cannot be carried.
            RuntimeError: 1,000 are open.
        """
        if kind not in ITEM_KINDS:
            raise ValueError(f"an item cannot be a {kind!r}; it must be one of {', '.join(ITEM_KINDS)}")
        _check_size(data)
        with self.reporting:
            if len(self._open) >= MOST_OPEN:
                raise RuntimeError(f"{MOST_OPEN} items are open; end some before the next one")
            self._items += 1
            item = Item(self, str(self._items))
            self.report("item.start", {"item": item.name, "kind": kind, "title": title, "data": data})
            self._open[item.name] = item
        return item

    def emit(self, kind: str, text: str, title: str = "", **data: Any) -> None:
        """A whole item at once."""
        with self.item(kind, title, **data) as item:
            item.write(text)

    def progress(self, message: str, fraction: float | None = None) -> None:
        """Say how far the turn is; ``fraction`` is from 0 to 1."""
        self.report("progress", {"message": message} | ({} if fraction is None else {"fraction": fraction}))

    def usage(
        self,
        *,
        input_tokens: int = 0,
        output_tokens: int = 0,
        reasoning_tokens: int = 0,
        cached_tokens: int = 0,
        cost: float | None = None,
    ) -> None:
        """What was used since the last report.

        Raises:
            ValueError: something is negative, beyond 2**53, or no number.
        """
        used: dict[str, Any] = {
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "reasoning_tokens": reasoning_tokens,
            "cached_tokens": cached_tokens,
        }
        used |= {} if cost is None else {"cost": cost}
        if not all(0 <= value <= MOST_USED for value in used.values()):
            raise ValueError(f"usage is counted from 0 to 2**53: {used}")
        self.report("usage", used)

    def check(self) -> None:
        """Raise :class:`Cancelled` if the turn is to end."""
        if self.cancelled.is_set():
            raise Cancelled(self.cancel_reason)

    def on_cancel(self, act: Callable[[], object]) -> None:
        """Have ``act`` called, once and from another thread, when the turn is cancelled; at once if it is already."""
        with self._cancelling:
            if not self.cancelled.is_set():
                self._on_cancel.append(act)
                return
        act()

    def cancel(self, reason: str) -> None:
        """The turn is to end; the first reason stays."""
        with self._cancelling:
            if self.cancelled.is_set():
                return
            self.cancel_reason = reason
            self.cancelled.set()
        for act in self._on_cancel:
            try:
                act()
            except Exception as error:
                print_traceback(error)

    def report(self, method: str, params: dict[str, Any]) -> None:
        """Send a notification of the worker protocol; a slow reader is waited for.

        Raises:
            RuntimeError: the turn is over. MethodNotFound, InvalidParams: the protocol has no such notification.
            LocalProtocolError: ``params`` cannot be encoded or read, or are too large or too deep.
        """
        frame = rpc.notification(method, check(TO_DAEMON, method, params))
        if params.get("data"):
            try:
                read_back(frame, self._channel.limits)
            except LocalProtocolError as error:
                raise LocalProtocolError(f"{method}: {error}") from error
        with self.reporting:
            if self._over:
                raise RuntimeError(f"turn {self.id} is over; report before its function returns")
            self._channel.send(frame)

    def end_items(self, state: str) -> None:
        """End the items that are open."""
        with self.reporting:
            for item in list(self._open.values()):
                item.end(state)

    def close(self, state: str) -> None:
        """End the items that are open, then take no more reports."""
        with self.reporting:
            self.end_items(state)
            self._over = True

    def ended(self, item: Item) -> None:
        """An item has ended."""
        del self._open[item.name]


class Item:
    """A part of a turn. As a context manager it ends itself: as failed (or cancelled) after an exception."""

    def __init__(self, turn: Turn, name: str) -> None:
        self.name = name
        self.state = "in_progress"
        self._turn = turn
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def __repr__(self) -> str:
        return f"<Item {self.name} of {self._turn.id} {self.state}>"

    def write(self, text: str | bytes) -> None:
        """Append to the content. Bytes are decoded as UTF-8, cut anywhere; what is not UTF-8 becomes U+FFFD.

        Raises:
            RuntimeError: the item has ended.
        """
        with self._turn.reporting:
            if self.state != "in_progress":
                raise RuntimeError(f"item {self.name} has {self.state}; start another one")
            for piece in _pieces(self._decoded(text)):
                self._turn.report("item.delta", {"item": self.name, "text": piece})

    def _decoded(self, text: str | bytes) -> str:
        if isinstance(text, bytes):
            return self._decoder.decode(text)
        return self._decoder.decode(b"", True) + text.encode("utf-8", "replace").decode()

    def end(self, state: str = "completed", **data: Any) -> None:
        """End it as completed, failed or cancelled, with ``data`` added to that of its start; the first end counts.

        Raises:
            ValueError: there is no such state, or ``data`` is too large.
        """
        if state not in ITEM_STATES:
            raise ValueError(f"an item cannot end as {state!r}; it must be one of {', '.join(ITEM_STATES)}")
        _check_size(data)
        with self._turn.reporting:
            if self.state == "in_progress":
                self.write("")  # half a character may wait in the decoder
                self._turn.report("item.end", {"item": self.name, "state": state, "data": data})
                self.state = state
                self._turn.ended(self)

    def update(self, *, title: str | None = None, text: str | None = None, **data: Any) -> None:
        """Change its title, or add to its data, while the turn runs; ``text`` is its whole output once it has ended.

        Raises:
            ValueError: ``text`` before its end, or ``text`` or ``data`` too large. RuntimeError: the turn is over.
        """
        _check_size(data)
        if text is not None and len(text.encode("utf-8", "replace")) > MOST_TEXT:
            raise ValueError(f"the text of an update may have {MOST_TEXT} bytes; start another item for more")
        changed = {"title": title, "text": text, "data": data or None}
        with self._turn.reporting:
            if text is not None and self.state == "in_progress":
                raise ValueError(f"item {self.name} is open; write its text")
            new = {field: value for field, value in changed.items() if value is not None}
            self._turn.report("item.update", {"item": self.name, **new})

    def __enter__(self) -> Item:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        broken = "cancelled" if self._turn.cancelled.is_set() else "failed"
        self.end("completed" if kind is None else broken)


def print_traceback(error: BaseException) -> None:
    """Write it to stderr as an uncaught exception would be."""
    sys.excepthook(type(error), error, error.__traceback__)


def _check_size(data: dict[str, Any]) -> None:
    if data and (size := len(rpc.pack(data))) > MOST_DATA:
        raise ValueError(f"an item's data has {size} bytes and may have {MOST_DATA}; write the rest as its text")


def _pieces(text: str) -> Iterator[str]:
    size = DELTA_BYTES if text.isascii() else DELTA_BYTES // 4
    for start in range(0, len(text), size):
        yield text[start : start + size]
