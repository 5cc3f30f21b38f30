"""Accepts clients and holds what they share: the rooms their handlers ask, the hub, what is admitted now."""

import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

import trio

from ...protocol import rpc
from ...protocol.errors import LimitReached, MethodNotFound, PeerRefused, RoostError, ShuttingDown
from ...protocol.methods import ReloadResult
from ...protocol.model import Check
from ..current import Current
from ..sessions.supervisor import Supervisor
from ..store import Store
from ..waiting.guard import guarded
from .connection import Connection
from .handlers import CHANGES, ROUTES, Route
from .hub import Hub
from .params import nearest, shown
from .refusal import MOST_REFUSALS, refuse
from .socket import Peer, peer_of

log = logging.getLogger(__name__)

BACK_OFF = 0.1
"""Seconds until accept is tried again when the process or the system has no descriptors left."""
CLOSING = 1.0
"""Seconds within which :meth:`Server.close` returns, whatever clients do."""
_ALWAYS = frozenset({"hello", "rpc.discover", "rpc.cancel", "daemon.status", "daemon.stats", "daemon.shutdown"})


class Info(NamedTuple):
    """What the daemon says of itself. ``started_at`` is unix time in milliseconds."""

    version: str
    pid: int
    started_at: int
    state_directory: str
    database: str
    socket: str
    checks: tuple[Check, ...] = ()
    capabilities: tuple[str, ...] = ()


class Server:
    """One a daemon.

    Args:
        supervisor, store: None if there is no database, and ``refused`` says why.
        limits: of each connection; the size of its messages is a setting.
        request_shutdown: begin to stop; called in the Trio thread with the reason.
        request_reload: have the settings read again, whoever stops waiting for it.
        refused: all but the daemon's own methods is answered with this.
    """

    def __init__(
        self,
        *,
        supervisor: Supervisor | None,
        store: Store | None,
        settings: Current,
        info: Info,
        limits: rpc.Limits | None = None,
        request_shutdown: Callable[[str], None],
        request_reload: Callable[[], Awaitable[ReloadResult]],
        refused: RoostError | None = None,
    ) -> None:
        self.settings = settings
        self.info = info
        self.request_shutdown = request_shutdown
        self.request_reload = request_reload
        self.refused = refused
        self.started = time.monotonic()
        self.hub = Hub()
        self.clients: dict[Connection, None] = {}
        self.counters = Counter[str]()
        self._supervisor = supervisor
        self._store = store
        self._limits = limits or rpc.Limits()
        self._refusing = 0
        self._stopping: str | None = None
        self._a_client_left = trio.lowlevel.ParkingLot()
        self._accepting = trio.CancelScope()
        self._serving = trio.CancelScope()
        self._nursery: trio.Nursery
        if store is not None:
            store.on_commit.append(self.hub.publish)

    @property
    def supervisor(self) -> Supervisor:
        assert self._supervisor is not None, "this server was made with `refused`"
        return self._supervisor

    @property
    def store(self) -> Store:
        assert self._store is not None, "this server was made with `refused`"
        return self._store

    @property
    def limits(self) -> rpc.Limits:
        """Of a connection that is made now."""
        return self._limits._replace(frame=self.settings.limits.request_frame)

    # --- what is admitted ---

    @property
    def phase(self) -> Literal["running", "stopping", "refused"]:
        if self._stopping is not None:
            return "stopping"
        return "running" if self.refused is None else "refused"

    def admit(self, unless: str | None) -> None:
        """Answer what creates or changes something with ``shutting_down`` and this reason; None: admit it again."""
        self._stopping = unless

    def route(self, method: str) -> Route:
        """Who handles ``method``.

        Raises:
            MethodNotFound: names the nearest method.
            ShuttingDown, DatabaseRefused: not now.
        """
        route = ROUTES.get(method)
        if route is None:
            raise _unknown(method)
        if self.refused is not None and method not in _ALWAYS:
            raise self.refused
        if self._stopping is not None and method in CHANGES:
            raise ShuttingDown(f"roostd is stopping ({self._stopping}); try again when it is back")
        return route

    # --- clients ---

    async def serve(
        self, listener: socket.socket, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Accept and serve clients until :meth:`close`; the listener stays open."""
        listener.setblocking(False)
        with self._serving:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                with self._accepting:
                    await self._accept(listener)

    async def close(self, reason: str) -> None:
        """Accept no more, tell each subscription and each wait, close all connections. Returns within 1 s."""
        log.info("closing %d connections: %s", len(self.clients), reason)
        self._accepting.cancel()
        self.hub.flush()
        for client in tuple(self.clients):
            client.close()
        with trio.move_on_after(CLOSING):
            await self._wait_left()
        self._serving.cancel()
        await self._wait_left()

    async def _wait_left(self) -> None:
        while self.clients:
            await self._a_client_left.park()

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                sock, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue
            except OSError as exc:
                log.error("cannot accept a connection, trying again in %s s: %s", BACK_OFF, exc)
                await trio.sleep(BACK_OFF)
                continue
            self._welcome(sock)

    def _welcome(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        peer = peer_of(sock)
        refusal = self._refusal(peer)
        if refusal is None:
            client = Connection(self, sock, peer)
            self.clients[client] = None
            self.counters["clients"] += 1
            self._nursery.start_soon(self._serve, client)
        else:
            log.warning("pid %d of uid %d refused: %s", peer.pid, peer.uid, refusal)
            self.counters["clients_refused"] += 1
            self._nursery.start_soon(self._refuse, sock, refusal)

    def _refusal(self, peer: Peer) -> RoostError | None:
        if peer.uid not in (0, os.geteuid(), *self.settings.daemon.allowed_uids):
            text = f"uid {peer.uid} may not use this daemon of uid {os.geteuid()}; its owner can add it to allowed_uids"
            return PeerRefused(text, uid=peer.uid, pid=peer.pid)
        if len(self.clients) >= (limit := self.settings.limits.clients):
            text = f"{len(self.clients)} clients are connected, and {limit} are allowed; close one"
            return LimitReached(text, limit=limit)
        return None

    async def _serve(self, client: Connection) -> None:
        try:
            await guarded(repr(client), client.serve)
        finally:
            del self.clients[client]
            self._a_client_left.unpark_all()

    async def _refuse(self, sock: socket.socket, refusal: RoostError) -> None:
        self._refusing += 1
        try:
            if self._refusing <= MOST_REFUSALS:
                await guarded("a refusal", refuse, sock, refusal)
        finally:
            self._refusing -= 1
            sock.close()


def _unknown(method: str) -> MethodNotFound:
    meant = nearest(method, ROUTES)
    hint = f"did you mean {meant}?" if meant else "rpc.discover lists them all"
    return MethodNotFound(f"there is no method {shown(method)!r}; {hint}", method=shown(method), nearest=meant)
