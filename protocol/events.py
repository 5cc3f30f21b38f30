"""One class per kind of event, with the fields of its ``data``. The envelope is :class:`.model.Event`.

They are typed dicts, so that the writer packs them as they are; ``turn`` stands in the envelope. ``author`` is an
author of ``model``; events of older versions may lack it.
"""

from typing import Any, Generic, NotRequired, TypeVar

from typing_extensions import TypedDict

from .model import ItemState, TurnState

EVENTS: dict[str, Any] = {}
"""Every kind of event and the class of its data."""

T = TypeVar("T")


class Kind(str, Generic[T]):
    """A kind of event: its name, and for type checkers the class of its data."""

    __slots__ = ()

    def __new__(cls, name: str, data: type[T]) -> "Kind[T]":
        EVENTS[name] = data
        return super().__new__(cls, name)


class DaemonStarted(TypedDict):
    """roostd is ready. ``ended`` names the pids of the leftovers of a dead daemon that were ended."""

    pid: int
    version: str
    interrupted: list[str]
    ended: list[int]


class DaemonStopped(TypedDict):
    """The report of an orderly stop. ``status`` is the exit status: 9 when something was lost."""

    reason: str
    status: int
    sessions: int
    saved: int
    unchanged: int
    interrupted: list[str]
    failed: list[str]
    timed_out: list[str]
    batches: int
    batches_ok: int
    batches_failed: int
    batches_timed_out: int
    duration: int
    author: dict[str, Any]


class DaemonProcessesLeft(TypedDict):
    """Processes of no live session that did not end although they were killed when roostd stopped: they outlive it."""

    pids: list[int]


class DaemonReloaded(TypedDict):
    """The settings were read again. ``restart`` names those that changed and hold only after a restart."""

    changed: list[str]
    restart: list[str]
    author: dict[str, Any]


class SessionCreated(TypedDict):
    session: dict[str, Any]
    author: dict[str, Any]


class SessionUpdated(TypedDict):
    """The changes of ``session.update``, new values only."""

    changed: dict[str, Any]
    author: dict[str, Any]


class SessionStateChanged(TypedDict):
    """``pid`` is there on the way to starting; ``problem`` says why a child died or did not start.

    ``author`` is there if the change was asked for.
    """

    old: str
    new: str
    reason: str
    pid: NotRequired[int]
    problem: NotRequired[dict[str, Any]]
    author: NotRequired[dict[str, Any]]


class SessionLimitsUnenforced(TypedDict):
    """Limits that its child was started without, because this host cannot enforce them."""

    limits: list[str]
    reason: str


class SessionProcessesLeft(TypedDict):
    """Processes of the session that did not end although they were killed; it is not idle until they are gone."""

    pids: list[int]


class SessionHeld(TypedDict):
    reason: str
    queued: int
    author: dict[str, Any]


class SessionReleased(TypedDict):
    reason: str
    queued: int
    author: dict[str, Any]


class SessionArchived(TypedDict):
    author: dict[str, Any]


class SessionUnarchived(TypedDict):
    author: dict[str, Any]


class SessionCleared(TypedDict):
    author: dict[str, Any]


class SessionDeleted(TypedDict):
    name: str | None
    author: dict[str, Any]


class CheckpointSaved(TypedDict):
    name: str
    through_turn: str | None
    bytes: int
    author: dict[str, Any]


class CheckpointFailed(TypedDict):
    name: str
    problem: dict[str, Any]


class TurnQueued(TypedDict):
    """``turn`` is the whole record; ``held`` why it waits although nothing runs."""

    turn: dict[str, Any]
    held: str | None


class TurnEdited(TypedDict):
    input: str
    author: dict[str, Any]


class TurnMoved(TypedDict):
    """``before`` is the turn it now stands before; null: it is the last."""

    before: str | None
    author: dict[str, Any]


class TurnStarted(TypedDict):
    number: int


class TurnCancelRequested(TypedDict):
    reason: str
    author: dict[str, Any]


class TurnProgressed(TypedDict):
    """The engine's word on its progress; ``fraction`` from 0 to 1."""

    message: str
    fraction: NotRequired[float]


class TurnUsageReported(TypedDict):
    """The turn's usage so far."""

    usage: dict[str, Any]


class TurnEnded(TypedDict):
    """The author is that of the cancel, if one was asked for."""

    reason: str | None
    problem: dict[str, Any] | None
    exit_code: int | None
    duration: int | None
    state_saved: bool
    author: NotRequired[dict[str, Any]]


class TurnCompleted(TurnEnded):
    pass


class TurnFailed(TurnEnded):
    pass


class TurnCancelled(TurnEnded):
    pass


class TurnInterrupted(TurnEnded):
    pass


class ItemStarted(TypedDict):
    item: str
    number: int
    kind: str
    title: str
    data: dict[str, Any]


class ItemDelta(TypedDict):
    """``text`` stands at byte ``start`` of the item's content. Past ``max_output`` no more deltas come."""

    item: str
    start: int
    text: str


class ItemUpdated(TypedDict):
    """The news of an item, open or ended: ``data`` is added to its data, ``text`` stands in place of its content."""

    item: str
    title: NotRequired[str]
    data: NotRequired[dict[str, Any]]
    text: NotRequired[str]


class ItemEnded(TypedDict):
    """``item`` is the whole record, content cut as in :class:`.model.Item`."""

    item: dict[str, Any]


class ItemCompleted(ItemEnded):
    pass


class ItemFailed(ItemEnded):
    pass


class ItemCancelled(ItemEnded):
    pass


class ItemInterrupted(ItemEnded):
    pass


class EventsPruned(TypedDict):
    """Stands where retention removed events. Never stored: its ``seq`` and ``offset`` are the last removed ones."""

    from_seq: int
    to_seq: int


DAEMON_STARTED = Kind("daemon.started", DaemonStarted)
DAEMON_STOPPED = Kind("daemon.stopped", DaemonStopped)
DAEMON_PROCESSES_LEFT = Kind("daemon.processes_left", DaemonProcessesLeft)
DAEMON_RELOADED = Kind("daemon.reloaded", DaemonReloaded)
SESSION_CREATED = Kind("session.created", SessionCreated)
SESSION_UPDATED = Kind("session.updated", SessionUpdated)
SESSION_STATE_CHANGED = Kind("session.state_changed", SessionStateChanged)
SESSION_LIMITS_UNENFORCED = Kind("session.limits_unenforced", SessionLimitsUnenforced)
SESSION_PROCESSES_LEFT = Kind("session.processes_left", SessionProcessesLeft)
SESSION_HELD = Kind("session.held", SessionHeld)
SESSION_RELEASED = Kind("session.released", SessionReleased)
SESSION_ARCHIVED = Kind("session.archived", SessionArchived)
SESSION_UNARCHIVED = Kind("session.unarchived", SessionUnarchived)
SESSION_CLEARED = Kind("session.cleared", SessionCleared)
SESSION_DELETED = Kind("session.deleted", SessionDeleted)
CHECKPOINT_SAVED = Kind("checkpoint.saved", CheckpointSaved)
CHECKPOINT_FAILED = Kind("checkpoint.failed", CheckpointFailed)
TURN_QUEUED = Kind("turn.queued", TurnQueued)
TURN_EDITED = Kind("turn.edited", TurnEdited)
TURN_MOVED = Kind("turn.moved", TurnMoved)
TURN_STARTED = Kind("turn.started", TurnStarted)
TURN_CANCEL_REQUESTED = Kind("turn.cancel_requested", TurnCancelRequested)
TURN_PROGRESSED = Kind("turn.progressed", TurnProgressed)
TURN_USAGE_REPORTED = Kind("turn.usage_reported", TurnUsageReported)
TURN_COMPLETED: Kind[TurnEnded] = Kind("turn.completed", TurnCompleted)
TURN_FAILED: Kind[TurnEnded] = Kind("turn.failed", TurnFailed)
TURN_CANCELLED: Kind[TurnEnded] = Kind("turn.cancelled", TurnCancelled)
TURN_INTERRUPTED: Kind[TurnEnded] = Kind("turn.interrupted", TurnInterrupted)
ITEM_STARTED = Kind("item.started", ItemStarted)
ITEM_DELTA = Kind("item.delta", ItemDelta)
ITEM_UPDATED = Kind("item.updated", ItemUpdated)
ITEM_COMPLETED: Kind[ItemEnded] = Kind("item.completed", ItemCompleted)
ITEM_FAILED: Kind[ItemEnded] = Kind("item.failed", ItemFailed)
ITEM_CANCELLED: Kind[ItemEnded] = Kind("item.cancelled", ItemCancelled)
ITEM_INTERRUPTED: Kind[ItemEnded] = Kind("item.interrupted", ItemInterrupted)
EVENTS_PRUNED = Kind("events.pruned", EventsPruned)

TURN_ENDS = {
    TurnState.completed: TURN_COMPLETED,
    TurnState.failed: TURN_FAILED,
    TurnState.cancelled: TURN_CANCELLED,
    TurnState.interrupted: TURN_INTERRUPTED,
}
ITEM_ENDS = {
    ItemState.completed: ITEM_COMPLETED,
    ItemState.failed: ITEM_FAILED,
    ItemState.cancelled: ITEM_CANCELLED,
    ItemState.interrupted: ITEM_INTERRUPTED,
}
