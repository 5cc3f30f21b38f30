"""What the queue runner decides: which sessions to drive now. It looks at what there is to do: no poke can be lost.

A drive gives a session its next turn, and ends when that turn has begun. The places are those of running turns: a turn
that waits for an answer has none, and takes the next free one, before any new turn, when it goes on.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from .backoff import jittered


@dataclass
class Drives:
    """Times are seconds of one monotonic clock."""

    in_flight: dict[str, float] = field(default_factory=dict[str, float])
    """Session → when its drive began; until the turn has ended that it gave the session."""
    starting: set[str] = field(default_factory=set[str])
    """Sessions that have a place although their turn does not run yet, or not again."""
    resuming: dict[str, None] = field(default_factory=dict[str, None])
    """Sessions whose turn has its answer and wants a place again; the one that waits longest is first."""
    _failures: dict[str, int] = field(default_factory=dict[str, int])
    _not_before: dict[str, float] = field(default_factory=dict[str, float])

    def rearm(self, session: str) -> None:
        """Forget its failures: somebody asked by hand, or it is deleted."""
        self._failures.pop(session, None)
        self._not_before.pop(session, None)

    def resumed(self, slots: int, running: Collection[str]) -> list[str]:
        """The sessions whose turn goes on now; they have a place from now on.

        Args:
            slots: turns that may run at once. running: the sessions whose turn runs.
        """
        chosen = list(self.resuming)[: self._free(slots, running)]
        for session in chosen:
            del self.resuming[session]
            self.starting.add(session)
        return chosen

    def due(self, now: float, work: Iterable[str], slots: int, running: Collection[str]) -> list[str]:
        """The sessions to drive now, and note them as in flight.

        Args:
            work: every session that has a turn that may run, in the order in which they shall be looked at.
            slots: turns that may run at once (``max_running_turns``). running: the sessions whose turn runs.
        """
        chosen: list[str] = []
        free = self._free(slots, running)
        for session in work:
            if len(chosen) >= free:
                break
            if session in self.in_flight or self._not_before.get(session, now) > now:
                continue
            self.in_flight[session] = now
            chosen.append(session)
        self.starting.update(chosen)
        return chosen

    def _free(self, slots: int, running: Collection[str]) -> int:
        return max(0, slots - len(self.starting.union(running)))

    def begun(self, session: str, now: float) -> None:
        """Its turn runs, or runs again: from now on it is one of those that run."""
        self.in_flight.setdefault(session, now)
        self.starting.discard(session)

    def finished(self, session: str, now: float, *, ok: bool, jitter: float = 0.0) -> None:
        """Its turn has ended, or it got none; after a failure the session waits."""
        self.in_flight.pop(session, None)
        self.starting.discard(session)
        self.resuming.pop(session, None)
        if ok:
            self.rearm(session)
        else:
            failures = self._failures[session] = self._failures.get(session, 0) + 1
            self._not_before[session] = now + jittered(failures, jitter)

    def abandon(self) -> None:
        """The drives that were under way are gone; the turns that they have begun are not."""
        for session in self.starting & self.in_flight.keys():
            del self.in_flight[session]
        self.starting.clear()
