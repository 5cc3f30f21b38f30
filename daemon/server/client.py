"""The view of a handler: its client, and the rooms of the daemon."""

import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Literal, NamedTuple, TypeVar

import trio

from ...protocol import rpc
from ...protocol.errors import RoostError
from ...protocol.model import Author, Check, ClientAuthor
from ...protocol.service import ReloadResult
from ..current import Current
from ..process.standing import owner_of
from ..sessions.supervisor import Supervisor
from ..store import Store, Tx
from ..waiting.awaited import Change
from ..waiting.deadline import in_thread
from .hub import Follower, Hub
from .outgoing import Outgoing

PAGES_AT_ONCE = 4
"""Pages of a client that are read from the store at the same time."""

FINDING = 2.0
"""Seconds to find the session that a client stands in: /proc may not answer for a process that hangs."""
_finders = trio.CapacityLimiter(8)

T = TypeVar("T")


class Info(NamedTuple):
    """The daemon, as it describes itself. ``started_at`` is unix time in milliseconds."""

    version: str
    pid: int
    started_at: int
    state_directory: str
    database: str
    socket: str
    checks: tuple[Check, ...] = ()
    capabilities: tuple[str, ...] = ()


class Rooms:
    """The daemon, as the handlers of all its clients see it.

    Args:
        supervisor, store: None if there is no database, and ``refused`` says why.
        request_shutdown: begin to stop; called in the Trio thread with the reason.
        request_reload: have the settings read again, also when the client leaves meanwhile.
        refused: all but the daemon's own methods is answered with this.

    Attributes:
        stopping: why nothing is created or changed any more.
        clients: how many are connected.
    """

    def __init__(
        self,
        *,
        supervisor: Supervisor | None,
        store: Store | None,
        settings: Current,
        info: Info,
        request_shutdown: Callable[[str, Author], None],
        request_reload: Callable[[Author], Awaitable[ReloadResult]],
        refused: RoostError | None = None,
    ) -> None:
        self.settings = settings
        self.info = info
        self.request_shutdown = request_shutdown
        self.request_reload = request_reload
        self.refused = refused
        self.stopping: str | None = None
        self.started = time.monotonic()
        self.hub = Hub()
        self.clients = 0
        self.counters = Counter[str]()
        self._supervisor = supervisor
        self._store = store

    @property
    def supervisor(self) -> Supervisor:
        assert self._supervisor is not None, "these rooms were made with `refused`"
        return self._supervisor

    @property
    def store(self) -> Store:
        assert self._store is not None, "these rooms were made with `refused`"
        return self._store

    @property
    def phase(self) -> Literal["running", "stopping", "refused"]:
        if self.stopping is not None:
            return "stopping"
        return "running" if self.refused is None else "refused"


class Client:
    """A client, as its handlers see it.

    Attributes:
        author: recorded as the author of each change that the client makes.
        limits: of its connection, as the settings had them when it connected.
        out: the bytes that it has not taken yet.
        subscriptions: its feeds, by id.
        waits: its requests that wait, by msgid.
        settled: told when it waits for less.
    """

    def __init__(
        self,
        rooms: Rooms,
        author: ClientAuthor,
        limits: rpc.Limits,
        out: Outgoing,
        start: Callable[[Callable[[], Awaitable[object]]], None],
    ) -> None:
        self.rooms = rooms
        self.author = author
        self.limits = limits
        self.out = out
        self.start = start
        """Starts a task that ends with the connection."""
        self.subscriptions: dict[str, Follower] = {}
        self.waits: dict[int, trio.CancelScope] = {}
        self.settled = Change()
        self._pages = trio.Semaphore(PAGES_AT_ONCE)

    async def find_session(self) -> None:
        """Learn in which session the client stands, before anything is done for it."""
        if self.rooms.refused is None:
            processes = self.rooms.supervisor.launches.processes
            find = partial(owner_of, self.author.pid, processes.children, processes.socket)
            owner = await in_thread(find, within=FINDING, otherwise=lambda: None, limiter=_finders)
            if owner is not None and owner.startswith("s-"):
                self.author = self.author.model_copy(update={"session": owner})

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """A page from the store: only while the client takes the pages before it, and a few at a time."""
        async with self._pages:
            await self.out.wait_room()
            return await self.rooms.store.read(query)

    async def write(self, operation: Callable[[Tx], T]) -> T:
        """The result of an operation of the store; leaving ends only the waiting."""
        return await self.rooms.store.write(operation)

    def withdraw(self, msgid: int) -> None:
        """End the waiting of a request of this client; an answered request stays so."""
        if scope := self.waits.get(msgid):
            scope.cancel()

    def follow(self, subscription: Follower) -> None:
        """From now on the hub tells the subscription of each commit."""
        self.subscriptions[subscription.id] = subscription
        self.rooms.hub.add(subscription)

    def forget(self, subscription: Follower) -> None:
        """The hub offers nothing more to the subscription."""
        self.rooms.hub.remove(subscription)
        self.subscriptions.pop(subscription.id, None)
        self.settled.tell()
