"""The queue runner: a start, a poke, the end of a turn and a slow poll drive it; one drive in flight per session."""

import random
from collections.abc import Awaitable, Callable

import trio

from ..core.drives import Drives
from ..store import Commit
from ..waiting.awaited import Change, Once
from ..waiting.guard import guarded
from .records import Records


class QueueRunner:
    """Drives sessions that have a turn that may run. It keeps no queue of its own: a lost poke costs one poll.

    Args:
        drive: gives a session its next turn. None: the turn has begun, and :meth:`ended` will be told of its end; else
            the session got none, and False asks for a pause.
        slots: turns that may run at once, now.
        poll: seconds between two looks, now.
    """

    def __init__(
        self,
        records: Records,
        drive: Callable[[str], Awaitable[bool | None]],
        *,
        slots: Callable[[], int],
        poll: Callable[[], float],
    ) -> None:
        self.drives = Drives()
        self.stopped = False
        self._records = records
        self._drive = drive
        self._slots = slots
        self._poll = poll
        self._look = True
        self._poked = Change()
        self._granted: dict[str, Once] = {}

    def poke(self) -> None:
        """Work may have come: look now. Never fails, also when the runner is gone."""
        self._look = True
        self._poked.tell()

    def heed(self, commit: Commit) -> None:
        """Something was committed: a session may have a turn that may run, or a turn its place given back."""
        if commit.turns or not self._records.runnable.keys().isdisjoint(commit.sessions):
            self.poke()

    def rearm(self, session: str) -> None:
        """Forget the session's failures, and look."""
        self.drives.rearm(session)
        self.poke()

    def stop(self) -> None:
        """Start no further drive."""
        self.stopped = True

    # --- the places of running turns ---

    def begun(self, session: str) -> None:
        """The session's turn runs, on disk."""
        self.drives.begun(session, trio.current_time())

    def ended(self, session: str, *, ok: bool) -> None:
        """The session's turn has ended; after a failure of its child the session waits."""
        ok = ok or self._records.by_id(session) is None  # of a session that was deleted nothing is remembered
        self.drives.finished(session, trio.current_time(), ok=ok, jitter=random.random())
        self.poke()

    async def take(self, session: str) -> None:
        """Wait for a place for a turn that goes on; :meth:`begun` says that it does."""
        granted = self._granted[session] = Once()
        self.drives.resuming[session] = None
        self.poke()
        try:
            await granted.wait()
        finally:
            self.drives.resuming.pop(session, None)
            del self._granted[session]

    def give_back(self, session: str) -> None:
        """The turn that has taken a place does not go on."""
        self.drives.starting.discard(session)
        self.poke()

    # --- its task ---

    async def run(self) -> None:
        """Look, drive, wait; begun again after a failure it starts from what is there."""
        self.drives.abandon()  # no drive outlives the nursery of the last run
        async with trio.open_nursery() as nursery:
            while not self.stopped:
                self._look = False
                for session in self.drives.resumed(self._slots(), self._records.running):
                    self._granted[session].set()
                for session in self._due():
                    # Else a session with a long queue would be first again each time, and others never driven.
                    self._records.behind_others(session)
                    nursery.start_soon(self._one, session)
                with trio.move_on_after(self._poll()):
                    while not self._look:
                        await self._poked.wait()

    def _due(self) -> list[str]:
        now, records = trio.current_time(), self._records
        return self.drives.due(now, records.runnable, self._slots(), records.running)

    async def _one(self, session: str) -> None:
        outcomes: list[bool | None] = []

        async def drive() -> None:
            outcomes.append(await self._drive(session))

        try:
            await guarded(f"drive of {session}", drive)
        finally:
            if outcomes != [None]:
                self.ended(session, ok=outcomes == [True])
