"""What an engine says while a turn runs: items that start, grow and end, progress, usage, and that it waits."""

from typing import Any, NamedTuple

from ...protocol.model import ItemKind, ItemState, Usage


class Start(NamedTuple):
    """An item begins; the engine has made its id, ``item``."""

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
    """An item ends; ``data`` is added to the data that it began with."""

    item: str
    state: ItemState
    data: dict[str, Any]


class Update(NamedTuple):
    """What is new of an item, open or ended; ``data`` is added, ``text`` is the whole output of one that has ended."""

    item: str
    title: str | None
    data: dict[str, Any]
    text: str | None
    dropped: int = 0


class Progress(NamedTuple):
    """``fraction`` from 0 to 1, if the engine knows."""

    message: str
    fraction: float | None


class UsageReport(NamedTuple):
    """The usage since the last report."""

    usage: Usage


class Asked(NamedTuple):
    """The engine waits for an answer from outside: the turn waits."""


class Answered(NamedTuple):
    """The engine has its answer: the turn goes on."""


Change = Start | Append | End | Update | Progress | UsageReport | Asked | Answered
