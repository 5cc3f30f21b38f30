"""The batches in which states are saved at a stop, and what is reported of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from ...protocol.events import DaemonStopped
from ...protocol.model import Author

Saved = Literal["saved", "unchanged", "failed", "timed_out"]


def split(ids: Sequence[str], size: int) -> list[list[str]]:
    """``ids`` in order, in ceil(n / size) batches."""
    return [list(ids[at : at + size]) for at in range(0, len(ids), size)]


@dataclass
class Report:
    """What a stop came to. A session is counted once; a batch is ok only if nothing of it was lost."""

    reason: str
    sessions: int = 0
    saved: int = 0
    unchanged: int = 0
    interrupted: list[str] = field(default_factory=list[str])
    failed: list[str] = field(default_factory=list[str])
    timed_out: list[str] = field(default_factory=list[str])
    batches: int = 0
    batches_ok: int = 0
    batches_failed: int = 0
    batches_timed_out: int = 0

    def add_batch(self, results: dict[str, Saved]) -> None:
        """Count one settled batch."""
        self.batches += 1
        values = list(results.values())
        self.saved += values.count("saved")
        self.unchanged += values.count("unchanged")
        self.failed += [session for session, result in results.items() if result == "failed"]
        self.timed_out += [session for session, result in results.items() if result == "timed_out"]
        if "timed_out" in values:
            self.batches_timed_out += 1
        elif "failed" in values:
            self.batches_failed += 1
        else:
            self.batches_ok += 1

    @property
    def status(self) -> int:
        """The exit status: 9 when a state was lost. An interrupted turn is not a loss."""
        return 9 if self.failed or self.timed_out else 0

    def data(self, duration: int, author: Author) -> DaemonStopped:
        """What the event ``daemon.stopped`` says; ``duration`` in ms."""
        return {
            "reason": self.reason,
            "status": self.status,
            "sessions": self.sessions,
            "saved": self.saved,
            "unchanged": self.unchanged,
            "interrupted": self.interrupted,
            "failed": self.failed,
            "timed_out": self.timed_out,
            "batches": self.batches,
            "batches_ok": self.batches_ok,
            "batches_failed": self.batches_failed,
            "batches_timed_out": self.batches_timed_out,
            "duration": duration,
            "author": author.to_wire(),
        }

    def line(self) -> str:
        """One sentence for the log and the journal."""
        lost = [f"failed: {' '.join(self.failed)}"] if self.failed else []
        lost += [f"timed out: {' '.join(self.timed_out)}"] if self.timed_out else []
        return (
            f"stopped ({self.reason}): {self.sessions} sessions, {self.saved} saved, {self.unchanged} unchanged, "
            f"{len(self.failed)} failed, {len(self.timed_out)} timed out; {len(self.interrupted)} turns interrupted; "
            f"batches: {self.batches_ok} ok, {self.batches_failed} failed, {self.batches_timed_out} timed out"
            + "".join(f"; {part}" for part in lost)
        )
