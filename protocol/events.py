"""One class per kind of event: what its ``data`` holds. The envelope is :class:`.model.Event`.

They are typed dicts, so that the writer packs them as they are; ``turn`` stands in the envelope.
"""

from collections.abc import Callable
from typing import Any, NotRequired, TypeVar

from typing_extensions import TypedDict

EVENTS: dict[str, Any] = {}
"""Every kind of event and the class of its data."""

T = TypeVar("T")


def _kind(name: str) -> Callable[[type[T]], type[T]]:
    def register(cls: type[T]) -> type[T]:
        EVENTS[name] = cls
        return cls

    return register


@_kind("daemon.started")
class DaemonStarted(TypedDict):
    """roostd is ready. ``ended`` names the pids that a dead predecessor left and that were ended."""

    pid: int
    version: str
    interrupted: list[str]
    ended: list[int]


@_kind("daemon.stopped")
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


@_kind("daemon.processes_left")
class DaemonProcessesLeft(TypedDict):
    """Processes of no live session that did not end although they were killed when roostd stopped: they outlive it."""

    pids: list[int]


@_kind("daemon.reloaded")
class DaemonReloaded(TypedDict):
    """The settings were read again. ``restart`` names those that changed and hold only after a restart."""

    changed: list[str]
    restart: list[str]


@_kind("session.created")
class SessionCreated(TypedDict):
    session: dict[str, Any]


@_kind("session.updated")
class SessionUpdated(TypedDict):
    """What ``session.update`` changed, new values only."""

    changed: dict[str, Any]


@_kind("session.state_changed")
class SessionStateChanged(TypedDict):
    """``pid`` is there on the way to starting; ``problem`` says why a child died or did not start."""

    old: str
    new: str
    reason: str
    pid: NotRequired[int]
    problem: NotRequired[dict[str, Any]]


@_kind("session.limits_unenforced")
class SessionLimitsUnenforced(TypedDict):
    """Limits that its child was started without, because this host cannot enforce them."""

    limits: list[str]
    reason: str


@_kind("session.processes_left")
class SessionProcessesLeft(TypedDict):
    """Processes of the session that did not end although they were killed; it is not idle until they are gone."""

    pids: list[int]


@_kind("session.held")
class SessionHeld(TypedDict):
    reason: str
    queued: int


@_kind("session.released")
class SessionReleased(TypedDict):
    reason: str
    queued: int


@_kind("session.archived")
class SessionArchived(TypedDict):
    pass


@_kind("session.unarchived")
class SessionUnarchived(TypedDict):
    pass


@_kind("session.cleared")
class SessionCleared(TypedDict):
    pass


@_kind("session.deleted")
class SessionDeleted(TypedDict):
    name: str | None


@_kind("checkpoint.saved")
class CheckpointSaved(TypedDict):
    name: str
    through_turn: str | None
    bytes: int


@_kind("checkpoint.failed")
class CheckpointFailed(TypedDict):
    name: str
    problem: dict[str, Any]


@_kind("turn.queued")
class TurnQueued(TypedDict):
    """``turn`` is the whole record; ``held`` why it waits although nothing runs."""

    turn: dict[str, Any]
    held: str | None


@_kind("turn.edited")
class TurnEdited(TypedDict):
    input: str


@_kind("turn.moved")
class TurnMoved(TypedDict):
    """``before`` is the turn it now stands before; null: it is the last."""

    before: str | None


@_kind("turn.started")
class TurnStarted(TypedDict):
    number: int


@_kind("turn.cancel_requested")
class TurnCancelRequested(TypedDict):
    reason: str
    author: dict[str, Any] | None


@_kind("turn.progressed")
class TurnProgressed(TypedDict):
    """What the engine says of its progress; ``fraction`` from 0 to 1."""

    message: str
    fraction: NotRequired[float]


@_kind("turn.usage_reported")
class TurnUsageReported(TypedDict):
    """The turn's usage so far."""

    usage: dict[str, Any]


class TurnEnded(TypedDict):
    reason: str | None
    problem: dict[str, Any] | None
    exit_code: int | None
    duration: int | None
    state_saved: bool


@_kind("turn.completed")
class TurnCompleted(TurnEnded):
    pass


@_kind("turn.failed")
class TurnFailed(TurnEnded):
    pass


@_kind("turn.cancelled")
class TurnCancelled(TurnEnded):
    pass


@_kind("turn.interrupted")
class TurnInterrupted(TurnEnded):
    pass


@_kind("item.started")
class ItemStarted(TypedDict):
    item: str
    number: int
    kind: str
    title: str
    data: dict[str, Any]


@_kind("item.delta")
class ItemDelta(TypedDict):
    """``text`` stands at byte ``start`` of the item's content. Past ``max_output`` no more deltas come."""

    item: str
    start: int
    text: str


class ItemEnded(TypedDict):
    """``item`` is the whole record, content cut as in :class:`.model.Item`."""

    item: dict[str, Any]


@_kind("item.completed")
class ItemCompleted(ItemEnded):
    pass


@_kind("item.failed")
class ItemFailed(ItemEnded):
    pass


@_kind("item.cancelled")
class ItemCancelled(ItemEnded):
    pass


@_kind("item.interrupted")
class ItemInterrupted(ItemEnded):
    pass


@_kind("events.pruned")
class EventsPruned(TypedDict):
    """Stands where retention removed events. Never stored: its ``seq`` and ``offset`` are the last removed ones."""

    from_seq: int
    to_seq: int
