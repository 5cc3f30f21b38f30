"""The queue runner: a start, a poke, a completion and a slow poll drive it; one drive in flight per session."""

import random
from collections.abc import Awaitable, Callable

import trio

from ..core.drives import Drives
from ..waiting.guard import guarded
from .records import Records


class QueueRunner:
    """Drives sessions that have a turn that may run. It keeps no queue of its own: a lost poke costs one poll.

    Args:
        slots: drives that may be under way at once, now.
        poll: seconds between two looks, now.
    """

    def __init__(
        self,
        records: Records,
        drive: Callable[[str], Awaitable[bool]],
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
        self._poked = trio.Event()

    def poke(self) -> None:
        """Work may have come: look now. Never fails, also when the runner is gone (S3.N11)."""
        self._poked.set()

    def rearm(self, session: str) -> None:
        """Forget the session's failures, and look."""
        self.drives.rearm(session)
        self.poke()

    def stop(self) -> None:
        """Start no further drive."""
        self.stopped = True

    async def run(self) -> None:
        """Look, drive, wait; begun again after a failure it starts from what is there."""
        self.drives.in_flight.clear()  # no drive outlives the nursery of the last run
        async with trio.open_nursery() as nursery:
            while not self.stopped:
                self._poked = trio.Event()
                for session in self.drives.due(trio.current_time(), self._records.runnable, self._slots()):
                    # Else one with a long queue would be first again each time, and others never driven.
                    self._records.behind_others(session)
                    nursery.start_soon(self._one, session)
                with trio.move_on_after(self._poll()):
                    await self._poked.wait()

    async def _one(self, session: str) -> None:
        ok = False

        async def drive() -> None:
            nonlocal ok
            ok = await self._drive(session)

        try:
            await guarded(f"drive of {session}", drive)
        finally:
            ok = ok or self._records.by_id(session) is None  # of one that was deleted meanwhile nothing is remembered
            self.drives.finished(session, trio.current_time(), ok=ok, jitter=random.random())
            self._poked.set()
