"""The Trio client for tools: concurrent calls on one connection, and feeds of events, each on its own.

::

    async with roost.client.connect() as client:
        async for event in client.events(after=0):
            print(event["kind"], (await client.call("daemon.status"))["running"])
"""

import math
import os
import socket as sockets
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn, Self

import trio

from ..protocol import rpc
from ..protocol.errors import ConnectionLost, DaemonUnreachable, InternalError, ProtocolMismatch, RoostError, from_wire
from ..protocol.paths import Paths
from . import frames, paths, peer
from .connection import HELLO_SECONDS

Record = dict[str, Any]

_READ_BYTES = 262_144


@asynccontextmanager
async def connect(
    socket: str | None = None, *, name: str = "roost.client", start: bool = False
) -> AsyncGenerator["Client", None]:
    """A client of the daemon that listens at ``socket``, or of the one that the environment means.

    Args:
        name: what the tool calls itself; it is recorded on what it does.
        start: start the daemon if none runs.

    Raises:
        DaemonUnreachable: no daemon answers there.
        PeerUntrusted: another user listens there, who was told nothing.
        ProtocolMismatch: the daemon speaks another version of the protocol.
    """
    environ = paths.with_options(os.environ, state=None, socket=socket)
    if start:
        from .launch import reach

        (await trio.to_thread.run_sync(lambda: reach(environ, start=True))).close()
    link = await _Link.found(paths.find(environ)[0], name)
    calls = _Calls(link)
    client = Client(link, calls, name)
    failure: Exception | KeyboardInterrupt | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(calls.read)
        nursery.start_soon(calls.write)
        try:
            yield client
        except (Exception, KeyboardInterrupt) as exc:
            failure = exc  # raised outside of the nursery, which would wrap it in a group
        finally:
            client.close()
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


class Client:
    """Made by :func:`connect`. Calls may be made by many tasks at once."""

    def __init__(self, link: "_Link", calls: "_Calls", name: str) -> None:
        self.server_version: str = link.hello["server"]["version"]
        self.limits: Record = link.hello["limits"]
        self._path, self._name = link.path, name
        self._calls = calls
        self._feeds: set[Events] = set()

    async def call(self, method: str, params: Record | None = None) -> Record:
        """The result of ``method``. Cancelled, it withdraws the request; what it asked for may still happen.

        Raises:
            RoostError: the daemon's own error, as the class of its name.
            InvalidParams, FrameTooLarge: it is over the daemon's limits; nothing was sent.
            ConnectionLost: the daemon went away.
        """
        return await self._calls.call(method, params or {})

    def events(
        self,
        session: str | None = None,
        *,
        after: int | None = None,
        kinds: list[str] | None = None,
        follow: bool = True,
    ) -> "Events":
        """A feed of the events of one session, or of all sessions and the daemon.

        Args:
            after: begin behind this seq of the session, or this offset of all; left out: with what comes now.
            kinds: only these kinds, or ``noun.`` prefixes.
            follow: False ends the feed after what there is now.
        """
        params: Record = {"session": session} if session is not None else {"all": True}
        params |= {"after": after} if after is not None else {}
        params |= {"kinds": kinds} if kinds is not None else {}
        feed = Events(self._path, self._name, params | {"follow": follow}, self._feeds.discard)
        self._feeds.add(feed)
        return feed

    def close(self) -> None:
        """End the connection and every feed, as leaving the block does."""
        self._calls.close()
        for feed in [*self._feeds]:
            feed.close()


class _Calls:
    """The calls that share a connection: who waits for which answer."""

    def __init__(self, link: "_Link") -> None:
        self._link = link
        self._limits: Record = link.hello["limits"]
        self._places = trio.Semaphore(self._limits["pending"])
        self._waiting: dict[int, _Answer] = {}
        self._outbox, self._to_write = trio.open_memory_channel[bytes](math.inf)
        self._lost: RoostError | None = None

    async def call(self, method: str, params: Record) -> Record:
        async with self._places:
            if self._lost is not None:
                raise self._lost
            msgid = self._link.rpc.next_msgid()
            self._outbox.send_nowait(frames.request(msgid, method, params, self._limits))
            answer = self._waiting[msgid] = _Answer()
            try:
                await answer.arrived.wait()
            except trio.Cancelled:
                self._withdraw(msgid)
                raise
        return answer.result()

    def _withdraw(self, msgid: int) -> None:
        if self._waiting.pop(msgid, None) is not None:
            self._outbox.send_nowait(rpc.request(self._link.rpc.next_msgid(), "rpc.cancel", {"msgid": msgid}))

    async def read(self) -> None:
        try:
            while True:
                for message in await self._link.receive():
                    if isinstance(message, rpc.Response) and (answer := self._waiting.pop(message.msgid, None)):
                        answer.set(message)
        except RoostError as exc:
            self._fail(exc)

    async def write(self) -> None:
        try:
            async for frame in self._to_write:
                await self._link.send(frame)
        except RoostError as exc:
            self._fail(exc)

    def close(self) -> None:
        self._fail(ConnectionLost("this client is closed; connect again"))
        self._outbox.close()
        self._link.close()

    def _fail(self, error: RoostError) -> None:
        self._lost = self._lost or error
        for answer in self._waiting.values():
            answer.fail(error)
        self._waiting.clear()


class _Answer:
    """What a call waits for."""

    def __init__(self) -> None:
        self.arrived = trio.Event()
        self._response: rpc.Response | None = None
        self._error: RoostError | None = None

    def set(self, response: rpc.Response) -> None:
        self._response = response
        self.arrived.set()

    def fail(self, error: RoostError) -> None:
        self._error = error
        self.arrived.set()

    def result(self) -> Record:
        if self._response is None:
            raise self._error or InternalError("an answer was taken before it came")
        if self._response.error is not None:
            raise from_wire(self._response.error)
        return self._response.result  # type: ignore[no-any-return]


class Events:
    """Events in order, none missing and none twice: ``async for event in client.events(...)``.

    The feed has a connection of its own: one that is read slowly holds up no call, the daemon keeps what was not
    read yet, and nothing piles up here. When the daemon ends it, the loop ends and ``reason`` says why: complete,
    session_deleted, shutting_down. It does not subscribe again by itself; one that failed or was closed has ended.
    It may be closed while another task reads it: that task's loop ends. A step that was cancelled may be made again.

    Raises:
        ConnectionLost: the daemon went away without a word; ``data["after"]`` is where to go on.
        RoostError: the subscription was refused, or it failed in the daemon.

    Attributes:
        after: the last event given; go on behind it.
    """

    def __init__(self, path: str, name: str, params: Record, forget: "Callable[[Events], None]") -> None:
        self.reason: str | None = None
        self.after: int | None = params.get("after")
        self._path, self._name, self._params = path, name, params
        self._cursor = "seq" if "session" in params else "offset"
        self._forget = forget
        self._subscribing: trio.CancelScope | None = None
        self._link: _Link | None = None  # once it is subscribed
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Record:
        notification = await self._next()
        if notification.method == "events.end":
            self._end(notification.params)
            raise StopAsyncIteration
        self.after = notification.params[self._cursor]
        event: Record = notification.params
        return event

    def close(self) -> None:
        """Leave the feed; the daemon notices."""
        self._closed = True
        if self._subscribing is not None:
            self._subscribing.cancel()
        if self._link is not None:
            self._link.close()
        self._forget(self)

    async def _next(self) -> rpc.Notification:
        while not self._closed:
            try:
                if self._link is None:
                    await self._subscribe()
                elif self._link.notifications:
                    return self._link.notifications.popleft()
                else:
                    await self._link.receive()
            except RoostError as exc:
                if not self._closed:
                    self._fail(exc)
        raise StopAsyncIteration

    async def _subscribe(self) -> None:
        with trio.CancelScope() as self._subscribing:
            link = await _Link.open(self._path, self._name)
            try:
                self.after = (await link.call("events.subscribe", self._params))["after"]
            except BaseException:
                link.close()
                raise
            self._link = link
            if self._closed:  # just now, too late to be cancelled
                link.close()

    def _fail(self, error: RoostError) -> NoReturn:
        self.close()
        if self._link is not None and isinstance(error, ConnectionLost):
            text = f"{error.message}; subscribe again after {self.after}"
            raise ConnectionLost(text, **error.data, after=self.after) from error
        raise error

    def _end(self, said: Record) -> None:
        self.reason, self.after = said["reason"], said["after"]
        self.close()
        if self.reason == "failed":
            raise InternalError(f"the feed failed: {said.get('message')}; subscribe again", after=self.after)


class _Link:
    """A greeted connection. One task reads it, and one writes."""

    def __init__(self, path: str, stream: trio.SocketStream) -> None:
        self.path = path
        self.rpc = rpc.Connection()
        self.hello: Record = {"limits": {}}
        self.notifications: deque[rpc.Notification] = deque()
        self._stream = stream

    @classmethod
    async def found(cls, where: Paths, name: str) -> Self:
        """To the daemon that should listen there, or wherever its lock says it does."""
        try:
            return await cls.open(where.socket, name)
        except DaemonUnreachable:
            other = paths.elsewhere(where)
            if other is None:
                raise
        return await cls.open(other, name)

    @classmethod
    async def open(cls, path: str, name: str) -> Self:
        with trio.move_on_after(HELLO_SECONDS):
            try:
                link = cls(path, await trio.open_unix_socket(path))
            except OSError as exc:
                raise frames.unreachable(path, exc) from exc
            try:
                sock = link._stream.socket
                peer.check(sock.getsockopt(sockets.SOL_SOCKET, sockets.SO_PEERCRED, peer.CREDENTIALS), path)
                link.hello = frames.greeted(await link.call("hello", frames.hello(name)))
                return link
            except ProtocolMismatch as exc:
                link.close()
                raise frames.mismatched(exc) from exc
            except ConnectionLost as exc:
                link.close()
                raise frames.departed(path) from exc
            except BaseException:
                link.close()
                raise
        raise frames.silent(path)

    def close(self) -> None:
        self._stream.socket.close()

    async def send(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise frames.lost(self.path) from exc

    async def receive(self) -> list[rpc.Message]:
        """Read once. Notifications are kept in :attr:`notifications`, the other messages returned."""
        try:
            data = await self._stream.receive_some(_READ_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise frames.lost(self.path) from exc
        if not data:
            raise frames.lost(self.path)
        others: list[rpc.Message] = []
        for message in self.rpc.receive(data):
            if isinstance(message, rpc.Violation):
                raise message.error
            if isinstance(message, rpc.Notification):
                self.notifications.append(message)
            else:
                others.append(message)
        return others

    async def call(self, method: str, params: Record) -> Record:
        """Ask, while nobody else reads."""
        await self.send(frames.request(msgid := self.rpc.next_msgid(), method, params, self.hello["limits"]))
        while True:
            for message in await self.receive():
                if isinstance(message, rpc.Response) and message.msgid == msgid:
                    answer = _Answer()
                    answer.set(message)
                    return answer.result()
