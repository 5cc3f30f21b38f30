"""PURE: what must hold of all events and turns, whatever happens: no event is missing or double, and no turn lost."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]
ENDED = frozenset(f"turn.{state}" for state in ("completed", "failed", "cancelled", "interrupted"))


class Broken(Exception):
    """A stream of events was not what it must be."""


class Sequence:
    """One subscriber's view: each number follows the one before, and so does each session's in a feed of all.

    Args:
        after: the number that it has subscribed behind.
    """

    def __init__(self, who: str, number: str, after: int) -> None:
        self.after = after
        self.count = 0
        self.seqs: dict[str | None, int] = {}
        self._who = who
        self._number = number
        self._last: Event | None = None
        self._repeated = False

    def again(self) -> int:
        """Behind which number to subscribe after the daemon was gone: the last event is to come once more."""
        self._repeated = self._last is not None
        return self.after - self._repeated

    def see(self, event: Event) -> bool:
        """Whether it is a new one. Raises Broken."""
        if self._repeated:
            self._repeated = False
            if event != self._last:
                raise Broken(f"{self._who}: what was seen is another event now: {self._last} and {event}")
            return False
        self._follows(f"{self._who}: {self._number}", event[self._number], self.after)
        if (known := self.seqs.get(event["session"])) is not None:
            self._follows(f"{self._who}: seq of {event['session']}", event["seq"], known)
        self.after, self._last = event[self._number], event
        self.seqs[event["session"]] = event["seq"]
        self.count += 1
        return True

    def _follows(self, what: str, number: int, after: int) -> None:
        if number != after + 1:
            raise Broken(f"{what} {number} came after {after}")


@dataclass
class Ledger:
    """The turns that were sent, and what the events say of them."""

    acknowledged: dict[str, str] = field(default_factory=dict[str, str])
    """Turn → session."""
    queued: Counter[str] = field(default_factory=Counter[str])
    started: Counter[str] = field(default_factory=Counter[str])
    ended: Counter[str] = field(default_factory=Counter[str])
    ends: Counter[str] = field(default_factory=Counter[str])
    """Kind of event → how many turns ended so."""
    open: Counter[str] = field(default_factory=Counter[str])
    """Session → its turns that have not ended."""

    def see(self, event: Event) -> None:
        turn, kind, session = event["turn"], event["kind"], event["session"]
        if kind == "turn.queued":
            self.queued[turn] += 1
            self.open[session] += 1
        elif kind == "turn.started":
            self.started[turn] += 1
        elif kind in ENDED:
            self.ended[turn] += 1
            self.ends[kind] += 1
            self.open[session] -= 1

    def unfinished(self) -> list[str]:
        """Turns that were acknowledged and have not ended."""
        return [turn for turn in self.acknowledged if turn not in self.ended]

    def problems(self) -> list[str]:
        """What must not be, when all has ended."""
        known = self.acknowledged.keys()
        return [
            *(f"turn {turn} was acknowledged and never ended" for turn in self.unfinished()),
            *(f"turn {turn} was acknowledged and never queued" for turn in known - self.queued.keys()),
            *(f"turn {turn} was queued and never acknowledged" for turn in self.queued.keys() - known),
            *_more_than_once("queued", self.queued),
            *_more_than_once("started", self.started),
            *_more_than_once("ended", self.ended),
        ]


def _more_than_once(what: str, counts: Counter[str]) -> list[str]:
    return [f"turn {turn} was {what} {count} times" for turn, count in counts.items() if count > 1]
