"""A client's connection: reads requests and has their handlers answer.

A handler that need not wait is a plain function and is called inline; a handler that waits returns a coroutine, which
gets a task here. The work that it waits for has another owner: ending the task ends only the waiting.
"""

import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import trio

from ...protocol import rpc
from ...protocol.errors import InternalError, LocalProtocolError, RequestCancelled, RoostError, ShuttingDown
from ...protocol.model import ClientAuthor
from .answer import Result, Then, encode
from .client import Client, Rooms
from .dispatch import handled
from .hub import Reason
from .outgoing import UNSENT, Outgoing
from .params import shown
from .socket import Peer

log = logging.getLogger(__name__)

READ_BYTES = 32 * 1024
FAREWELL = 0.8
"""Seconds a client has to take the bytes left for it, at the stop or when it has violated the protocol."""


class Connection:
    """A client's socket, and the requests that come by it."""

    def __init__(self, rooms: Rooms, sock: socket.socket, peer: Peer, limits: rpc.Limits) -> None:
        self.out = Outgoing(sock, self._start_writer, self._broken)
        self.client = Client(rooms, ClientAuthor(pid=peer.pid, uid=peer.uid), limits, self.out, self._start)
        self._sock = sock
        self._rpc = rpc.Connection(limits)
        self._reading = trio.CancelScope()
        self._leaving = trio.CancelScope()
        self._closing = False
        self._nursery: trio.Nursery

    def __repr__(self) -> str:
        author = self.client.author
        return f"<Connection of {author.client or 'a client'}, pid {author.pid}, {self._rpc}>"

    # --- its life ---

    async def serve(self) -> None:
        """Until the client leaves or violates the protocol, or :meth:`close` is called."""
        try:
            async with trio.open_nursery() as self._nursery:
                with self._reading:
                    await self.client.find_session()
                    await self._converse()
                with self._leaving:
                    await self._farewell()
                self._end_subscriptions("shutting_down")
                self._nursery.cancel_scope.cancel()
        finally:
            for subscription in tuple(self.client.subscriptions.values()):
                self.client.forget(subscription)
            self._sock.close()

    def close(self) -> None:
        """Tell each subscription, after its last event, and each request that waits; then end, within a second."""
        self._closing = True
        for subscription in self.client.subscriptions.values():
            subscription.wind_up()
        for scope in self.client.waits.values():
            scope.cancel()
        self._hurry()
        self._reading.cancel()

    def _hurry(self) -> None:
        self._leaving.deadline = min(self._leaving.deadline, trio.current_time() + FAREWELL)

    async def _converse(self) -> None:
        while not self._rpc.violated:
            data = await self._receive()
            if not data:
                return
            for message in self._rpc.receive(data):
                if self._take(message):
                    # Tasks that start in the same tick run in any order: the request that came first shall begin first.
                    await trio.lowlevel.checkpoint()
                if self.out.size > UNSENT:
                    await self.out.wait_room()
            self.out.flush()

    async def _receive(self) -> bytes:
        """The bytes that the client sent; none when it has left."""
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                return self._sock.recv(READ_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                return b""

    async def _farewell(self) -> None:
        if self._rpc.violated:
            self._hurry()
        if not self._closing:
            self._end_subscriptions("failed" if self._rpc.violated else "unsubscribed")
        while self._closing and (self.client.waits or self.client.subscriptions):
            await self.client.settled.wait()
        self.out.flush()
        await self.out.wait_sent()
        if self._rpc.violated:
            # A client that is still sending can read our answer only when it has sent everything.
            self._sock.shutdown(socket.SHUT_WR)
            while await self._receive():
                pass

    def _end_subscriptions(self, reason: Reason) -> None:
        for subscription in tuple(self.client.subscriptions.values()):
            subscription.end(reason)

    def _start_writer(self) -> None:
        self._nursery.start_soon(self.out.write)

    def _start(self, task: Callable[[], Awaitable[object]]) -> None:
        self._nursery.start_soon(task)

    def _broken(self) -> None:
        self._nursery.cancel_scope.cancel()

    # --- requests ---

    def _take(self, message: rpc.Message) -> bool:
        """Whether a task was started for the message."""
        match message:
            case rpc.Request(msgid, method, params):
                return self._request(msgid, method, params)
            case rpc.Refused(msgid, error):
                self.out.put(rpc.failure(msgid, error))
            case rpc.Notification("rpc.cancel", {"msgid": int(msgid)}):
                self.client.withdraw(msgid)
            case rpc.Violation(msgid, error):
                log.info("%r: %s", self, error)
                if msgid is not None:
                    self.out.put(rpc.failure(msgid, error))
            case _:
                log.debug("%r sent a notification or a response that nobody waits for", self)
        return False

    def _request(self, msgid: int, method: str, raw: dict[str, Any]) -> bool:
        try:
            result = handled(self.client, method, raw)
            if isinstance(result, Coroutine):
                scope = self.client.waits[msgid] = trio.CancelScope()
                self._nursery.start_soon(self._wait, msgid, method, result, scope)
                return True
            self._answer(msgid, method, result)
        except Exception as exc:
            self._fail(msgid, method, exc)
        return False

    async def _wait(self, msgid: int, method: str, work: Coroutine[Any, Any, Result], scope: trio.CancelScope) -> None:
        result: Result | None = None
        try:
            with scope:
                result = await work
            await self.out.wait_room()
            if result is None:
                raise self._withdrawn(msgid, method)
            self._answer(msgid, method, result)
        except Exception as exc:
            self._fail(msgid, method, exc)
        finally:
            del self.client.waits[msgid]
            self.client.settled.tell()
        self.out.flush()

    def _answer(self, msgid: int, method: str, result: Result) -> None:
        follow_up = None
        if isinstance(result, Then):
            result, follow_up = result
        self.out.put(encode(msgid, method, result))
        self._rpc.answered(msgid)
        if follow_up is not None:
            self.out.flush()
            try:
                follow_up()
            except Exception:
                log.exception("what follows %s failed", method)

    def _fail(self, msgid: int, method: str, exc: Exception) -> None:
        error = exc if isinstance(exc, RoostError) else _mistake(method, exc)
        try:
            frame = rpc.failure(msgid, error)
        except LocalProtocolError as unsayable:
            frame = rpc.failure(msgid, _mistake(method, unsayable))
        self.out.put(frame)
        self._rpc.answered(msgid)

    def _withdrawn(self, msgid: int, method: str) -> RoostError:
        if self._closing:
            return ShuttingDown(f"roostd is stopping; what {method} waits for goes on where it can: ask again later")
        return RequestCancelled(f"request {msgid} was withdrawn; what {method} asked for goes on", msgid=msgid)


def _mistake(method: str, exc: Exception) -> InternalError:
    method = shown(method)
    log.error("%s failed: %r", method, exc, exc_info=exc)
    return InternalError(f"a mistake in the daemon's {method}; its log has more", method=method)
