"""What the queue runner decides: which sessions to drive now. It looks at what there is to do: no poke can be lost."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from .backoff import jittered


@dataclass
class Drives:
    """Times are seconds of one monotonic clock."""

    in_flight: dict[str, float] = field(default_factory=dict[str, float])
    """Session → when its drive began."""
    _failures: dict[str, int] = field(default_factory=dict[str, int])
    _not_before: dict[str, float] = field(default_factory=dict[str, float])

    def rearm(self, session: str) -> None:
        """Forget its failures: somebody asked by hand, or it is deleted."""
        self._failures.pop(session, None)
        self._not_before.pop(session, None)

    def due(self, now: float, work: Iterable[str], slots: int) -> list[str]:
        """The sessions to drive now, and note them as in flight.

        Args:
            work: every session that has a turn that may run, in the order in which they shall be looked at.
            slots: drives that may be under way at once (``max_running_turns``).
        """
        chosen: list[str] = []
        for session in work:
            if len(self.in_flight) >= slots:
                break
            if session in self.in_flight or self._not_before.get(session, now) > now:
                continue
            self.in_flight[session] = now
            chosen.append(session)
        return chosen

    def finished(self, session: str, now: float, *, ok: bool, jitter: float = 0.0) -> None:
        """A drive has ended; after one that failed the session waits."""
        self.in_flight.pop(session, None)
        if ok:
            self.rearm(session)
        else:
            failures = self._failures[session] = self._failures.get(session, 0) + 1
            self._not_before[session] = now + jittered(failures, jitter)
