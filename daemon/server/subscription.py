"""A client's ordered, lossless feed: history, then live, with no gap and no double between the two.

Reading: pages come from the store, and events committed meanwhile are set aside, in bounds. Live: the last page was
read and the events set aside have followed it; commits go straight to the socket. When the client is slow, events are
set aside again; past the bound they are dropped and the feed goes back to reading. So nothing is lost, and the daemon
waits for no client.
"""

import logging
from operator import attrgetter

import trio

from ...protocol import rpc
from ...protocol.errors import RoostError, SessionNotFound
from ...protocol.feeds import EVENTS_END, EventsEnd
from ...protocol.model import new_id
from ..store import Stored, reads
from ..waiting.awaited import Change
from .client import Client
from .hub import Burst, Reason, frames

log = logging.getLogger(__name__)

ASIDE_SESSION, ASIDE_ALL = 256, 4096
"""Events set aside for a subscriber, at most."""
ASIDE_BYTES = 1024 * 1024
"""Bytes of them, at most, for all subscriptions of one connection: it may have hundreds."""
PAGE, PAGE_BYTES = 1000, 256 * 1024


class Kinds:
    """A filter: these kinds, or all that begin with ``noun.``; None lets all through."""

    def __init__(self, kinds: list[str] | None) -> None:
        self.listed = kinds
        self._exact = frozenset(kinds or ())
        self._prefixes = tuple(kind for kind in kinds or () if kind.endswith("."))

    def of(self, events: list[Stored]) -> list[Stored]:
        if self.listed is None:
            return events
        return [e for e in events if e.kind in self._exact or e.kind.startswith(self._prefixes)]


class Subscription:
    """A feed of a client. From its making on the hub tells it of each commit; :meth:`run` is its task.

    Args:
        session: an id; None is all sessions and the daemon.
    """

    def __init__(self, client: Client, session: str | None, kinds: list[str] | None) -> None:
        self.id = new_id("e")
        self.session = session
        self.cursor = 0
        """The last event sent, or passed over because it was not asked for: a seq, an offset when session is None."""
        self.kept = 0
        self._client = client
        self._kinds = Kinds(kinds)
        self._number = attrgetter("offset" if session is None else "seq")
        self._aside: list[Stored] | None = None
        """Events that were committed and not sent; None while they are left to the store."""
        self._live = False
        self._last: Reason | None = None
        """Why it ends once all is sent."""
        self._news = Change()
        self._scope = trio.CancelScope()
        client.follow(self)

    def __repr__(self) -> str:
        phase = "live" if self._live else "reading" if self._aside is None else "joining"
        return f"<Subscription {self.id} to {self.session or 'all'} {phase} at {self.cursor}>"

    # --- the hub tells it ---

    def offer(self, burst: Burst) -> None:
        """Send these events if the client keeps up, else set them aside. Never raises, never waits."""
        if self._live and not self._client.out.blocked:
            self._send(burst)
        elif self._aside is not None:
            self._live = False
            self._set_aside(burst)
            self._news.tell()

    def session_deleted(self) -> None:
        """Its last events were offered."""
        self._last = "session_deleted"
        self._news.tell()

    def _set_aside(self, burst: Burst) -> None:
        assert self._aside is not None
        self.kept += burst.size
        kept = sum([one.kept for one in self._client.subscriptions.values()])
        most = ASIDE_ALL if self.session is None else ASIDE_SESSION
        if len(self._aside) + len(burst.events) > most or kept > ASIDE_BYTES:
            self._aside, self.kept = None, 0
        else:
            self._aside += burst.events

    # --- its task ---

    async def run(self, last: int, follow: bool) -> None:
        """Send the events after ``cursor``: on and on, or up to ``last``."""
        try:
            with self._scope:
                await (self._follow() if follow else self._read_until(last))
        except Exception as exc:
            self.fail(exc)

    async def _read_until(self, last: int) -> None:
        more = True
        while more and self.cursor < last:
            more = await self._page()
        self.end("complete")

    async def _follow(self) -> None:
        while True:
            if self._aside is None:
                await self._catch_up()
            elif self._aside:
                await self._client.out.wait_sent()
                self._send_aside()
            elif self._last is not None:
                return self.end(self._last)
            else:
                self._live = True
                await self._news.wait()

    async def _catch_up(self) -> None:
        """Read pages up to the last; the events committed since then are set aside."""
        more = True
        while more or self._aside is None:
            await self._client.out.wait_sent()
            if self._aside is None:
                self._aside, self.kept = [], 0
            more = await self._page()

    async def _page(self) -> bool:
        """Read and send a page; whether there are more."""
        after, kinds = self.cursor, self._kinds.listed
        events, last, more = await self._client.read(
            lambda conn: reads.events(conn, self.session, after, PAGE, kinds, PAGE_BYTES)
        )
        self._put(frames(events))
        self.cursor = max(after, last)
        return more and last > after

    def _send_aside(self) -> None:
        if self._aside:  # it may have grown past the bound while the socket was full
            burst = Burst(self._aside)
            self._aside, self.kept = [], 0
            self._send(burst)

    def _send(self, burst: Burst) -> None:
        """Send its events, but for those that a page had already: a page may be ahead of the news."""
        if self._number(burst.events[0]) <= self.cursor:
            fresh = [event for event in burst.events if self._number(event) > self.cursor]
            if not fresh:
                return
            burst = Burst(fresh)
        self.cursor = self._number(burst.events[-1])
        wanted = self._kinds.of(burst.events)
        self._put(burst.frames if wanted is burst.events else frames(wanted))

    def _put(self, data: bytes) -> None:
        if data:
            self._client.out.put(data)
            self._client.out.flush()

    # --- its end ---

    def wind_up(self) -> None:
        """End it as soon as it has caught up: the daemon stops."""
        self._last = self._last or "shutting_down"
        self._news.tell()

    def fail(self, exc: Exception) -> None:
        """End it with the reason why it cannot go on."""
        if isinstance(exc, SessionNotFound):
            self.end("session_deleted")
        elif isinstance(exc, RoostError):
            self.end("failed", exc.message)
        else:
            log.error("%r failed: %r", self, exc, exc_info=exc)
            self.end("failed", "a mistake in the daemon; its log has more; subscribe again")

    def end(self, reason: Reason, message: str = "") -> None:
        """Tell the client the reason, and be forgotten."""
        self._client.forget(self)
        end = EventsEnd(subscription=self.id, reason=reason, after=self.cursor, message=message)
        self._put(rpc.notification(EVENTS_END, end.to_wire()))
        self._scope.cancel()
