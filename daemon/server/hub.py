"""A commit goes to its followers: encoded once, the same bytes to all."""

from collections.abc import Iterable, Iterator
from typing import Literal, Protocol, TypeAlias

import trio

from ...protocol import rpc
from ...protocol.feeds import EVENT
from ..store import Commit, Stored

_HEAD = rpc.notification_head(EVENT)


def frames(events: Iterable[Stored]) -> bytes:
    """The notifications of ``events``, joined."""
    joined = _HEAD.join([event.packed for event in events])
    return _HEAD + joined if joined else b""


Reason = Literal["unsubscribed", "complete", "session_deleted", "shutting_down", "failed"]

BURST_BYTES = 128 * 1024
"""Events are sent in bursts of about this size: so much is kept for a client whose socket is full."""


class Burst:
    """Some events of a feed, in order. The first follower that asks for their frames makes them for all."""

    __slots__ = ("_frames", "events", "size")

    def __init__(self, events: list[Stored]) -> None:
        self.events = events
        self.size = sum([len(event.packed) for event in events])
        self._frames: bytes | None = None

    @property
    def frames(self) -> bytes:
        if self._frames is None:
            self._frames = frames(self.events)
        return self._frames


class Follower(Protocol):
    """A follower of a session, or of all; see :class:`.subscription.Subscription`."""

    id: str
    session: str | None
    kept: int
    """Bytes that are set aside for it."""

    def offer(self, burst: Burst) -> None:
        """These events were committed. Never raises, never waits."""

    def session_deleted(self) -> None:
        """Its last events were offered."""

    def fail(self, exc: Exception) -> None:
        """End it with the reason why it cannot go on."""

    def wind_up(self) -> None:
        """End it as soon as it has caught up."""

    def end(self, reason: Reason, message: str = "") -> None:
        """Tell the client the reason, and be forgotten."""


Followers: TypeAlias = dict[Follower, None]


class Hub:
    """The followers, and what each follows. No follower is no effect."""

    def __init__(self) -> None:
        self._all: Followers = {}
        self._sessions: dict[str, Followers] = {}
        self._commits: list[Commit] = []

    def __len__(self) -> int:
        return len(self._all) + sum(map(len, self._sessions.values()))

    def add(self, subscription: Follower) -> None:
        self._followers(subscription.session)[subscription] = None

    def remove(self, subscription: Follower) -> None:
        session = subscription.session
        self._followers(session).pop(subscription, None)
        if session is not None and not self._sessions[session]:
            del self._sessions[session]

    def _followers(self, session: str | None) -> Followers:
        return self._all if session is None else self._sessions.setdefault(session, {})

    def publish(self, commit: Commit) -> None:
        """A commit is durable. Called in the Trio thread, in order; the commits of one tick are sent together."""
        if self._all or self._sessions:
            if not self._commits:
                trio.lowlevel.current_trio_token().run_sync_soon(self.flush)
            self._commits.append(commit)

    def flush(self) -> None:
        """Offer the published events to their followers."""
        commits, self._commits = self._commits, []
        if self._all:
            _offer(self._all, [event for commit in commits for event in commit.events])
        for session, events in self._followed(commits).items():
            _offer(self._sessions[session], events)
        for commit in commits:
            for session, record in commit.sessions.items():
                if record is None:
                    for subscription in self._sessions.get(session, ()):
                        subscription.session_deleted()

    def _followed(self, commits: list[Commit]) -> dict[str, list[Stored]]:
        """Their events by session, of sessions that have a follower."""
        found: dict[str, list[Stored]] = {}
        if self._sessions:
            for commit in commits:
                for event in commit.events:
                    if event.session in self._sessions:
                        found.setdefault(event.session, []).append(event)
        return found


def _offer(followers: Followers, events: list[Stored]) -> None:
    for burst in _bursts(events):
        for subscription in tuple(followers):
            try:
                subscription.offer(burst)
            except Exception as exc:
                subscription.fail(exc)


def _bursts(events: list[Stored]) -> Iterator[Burst]:
    start = size = 0
    for index, event in enumerate(events):
        size += len(event.packed)
        if size >= BURST_BYTES:
            yield Burst(events[start : index + 1])
            start, size = index + 1, 0
    if start < len(events):
        yield Burst(events[start:])
