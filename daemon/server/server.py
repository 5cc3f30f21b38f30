"""Accepts clients, refuses changes while the daemon stops, and ends all connections."""

import logging
import os
import socket

import trio

from ...protocol import rpc
from ...protocol.errors import LimitReached, PeerRefused, RoostError
from ..waiting.awaited import Change
from ..waiting.guard import guarded
from .client import Rooms
from .connection import Connection
from .refusal import MOST_REFUSALS, refuse
from .socket import Peer, peer_of

log = logging.getLogger(__name__)

BACK_OFF = 0.1
"""Seconds until accept is tried again when the process or the system has no descriptors left."""
CLOSING = 1.0
"""Seconds within which :meth:`Server.close` returns, whatever clients do."""


class Server:
    """The daemon's server; a daemon has a single one.

    Args:
        rooms: the daemon, as the handlers see it.
        limits: of each connection; the size of its messages is a setting.

    Attributes:
        clients: the connections that are open.
    """

    def __init__(self, rooms: Rooms, limits: rpc.Limits | None = None) -> None:
        self.clients: dict[Connection, None] = {}
        self._rooms = rooms
        self._limits = limits or rpc.Limits()
        self._refusing = 0
        self._left = Change()
        self._accepting = trio.CancelScope()
        self._serving = trio.CancelScope()
        self._nursery: trio.Nursery
        if rooms.refused is None:
            rooms.store.on_commit.append(rooms.hub.publish)

    def admit(self, unless: str | None) -> None:
        """Answer a request that would change something with ``shutting_down`` and this reason; None: admit it again."""
        self._rooms.stopping = unless

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
        self._rooms.hub.flush()
        for client in tuple(self.clients):
            client.close()
        with trio.move_on_after(CLOSING):
            await self._wait_left()
        self._serving.cancel()
        await self._wait_left()

    async def _wait_left(self) -> None:
        while self.clients:
            await self._left.wait()

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
            limits = self._limits.but(frame=self._rooms.settings.limits.request_frame)
            client = Connection(self._rooms, sock, peer, limits)
            self._count(client, there=True)
            self._rooms.counters["clients"] += 1
            self._nursery.start_soon(self._serve, client)
        else:
            log.warning("pid %d of uid %d refused: %s", peer.pid, peer.uid, refusal)
            self._rooms.counters["clients_refused"] += 1
            self._nursery.start_soon(self._refuse, sock, refusal)

    def _refusal(self, peer: Peer) -> RoostError | None:
        if peer.uid not in (0, os.geteuid(), *self._rooms.settings.daemon.allowed_uids):
            text = f"uid {peer.uid} may not use this daemon of uid {os.geteuid()}; its owner can add it to allowed_uids"
            return PeerRefused(text, uid=peer.uid, pid=peer.pid)
        if len(self.clients) >= (limit := self._rooms.settings.limits.clients):
            text = f"{len(self.clients)} clients are connected, and {limit} are allowed; close one"
            return LimitReached(text, limit=limit)
        return None

    async def _serve(self, client: Connection) -> None:
        try:
            await guarded(repr(client), client.serve)
        finally:
            self._count(client, there=False)
            self._left.tell()

    def _count(self, client: Connection, *, there: bool) -> None:
        if there:
            self.clients[client] = None
        else:
            del self.clients[client]
        self._rooms.clients = len(self.clients)

    async def _refuse(self, sock: socket.socket, refusal: RoostError) -> None:
        self._refusing += 1
        try:
            if self._refusing <= MOST_REFUSALS:
                await guarded("a refusal", refuse, sock, refusal)
        finally:
            self._refusing -= 1
            sock.close()
