"""The line to one child: requests and their answers in both directions, and what the child tells by itself."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import trio

from ...protocol import rpc
from ...protocol.errors import (
    InternalError,
    InvalidParams,
    MethodNotFound,
    RequestCancelled,
    RoostError,
    TimedOut,
    WorkerViolation,
)
from ..waiting.awaited import Once
from ..waiting.errands import Starter
from .codec import Codec

log = logging.getLogger(__name__)

MOST_ASKED = 128
"""Requests of one child that are open at a time."""

Handler = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Answers one request of a child, in a task of its own, however long that takes; cancelled, nothing is answered."""


class Words(Protocol):
    """The vocabulary of a protocol, and how a breach of it is told."""

    def result(self, method: str, response: rpc.Response) -> dict[str, Any]:
        """The checked result of a request of the daemon.

        Raises:
            InvalidParams: the answer breaks the protocol. RoostError: an error of the child's own.
        """
        ...

    def told(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The checked params of a notification. Raises InvalidParams, MethodNotFound: it breaks the protocol."""
        ...

    def violation(self, error: RoostError) -> WorkerViolation:
        """A breach of the protocol, told as one of the child."""
        ...


class Call:
    """A request of the daemon.

    Attributes:
        number: of its answer, in the order in which the line hears answers; 0: not heard yet. It is set as the answer
            is heard: the tasks that wait for answers that come together go on in any order.
    """

    def __init__(self, method: str, params: dict[str, Any]) -> None:
        self.method, self.params = method, params
        self.number = 0
        self.response: rpc.Response | None = None
        self.over = Once()


class Line:
    """Speaks over two pipes that its caller opens and closes.

    Args:
        told: is given each checked notification, and is awaited before the line hears on.
        lost: why the child cannot be spoken with.
        broken: is told when an answer of the child breaks the protocol.
        handlers: the methods that a child may ask.
    """

    def __init__(
        self,
        codec: Codec,
        words: Words,
        told: Callable[[str, dict[str, Any]], Awaitable[None]],
        lost: Callable[[], RoostError],
        broken: Callable[[WorkerViolation], None],
        handlers: Mapping[str, Handler],
    ) -> None:
        self.codec = codec
        self.handlers = handlers
        self._words = words
        self._told = told
        self._lost = lost
        self._broken = broken
        self._calls: dict[int, Call] = {}
        self._answers = 0
        self._asked: dict[int, trio.CancelScope] = {}
        self._put: Callable[[bytes], Awaitable[None]] | None = None
        self._start: Starter

    def begin(self, send: Callable[[bytes], Awaitable[None]], start: Starter) -> None:
        """Speak.

        Args:
            send: takes frames in order; ``trio.BrokenResourceError``: the child does not read any more.
            start: starts the tasks that answer the child's requests.
        """
        self._put, self._start = send, start

    async def ask(self, call: Call, within: float = float("inf")) -> dict[str, Any]:
        """The result of a request; ``within`` in seconds.

        Raises:
            RoostError: the error of ``lost``, or an error of the child's own. WorkerViolation, TimedOut.
        """
        msgid = self.codec.next_msgid()
        self._calls[msgid] = call
        try:
            with trio.move_on_after(within) as waiting:
                await self._send(self.codec.request(msgid, call.method, call.params))
                await call.over.wait()
        finally:
            self._calls.pop(msgid, None)
        if waiting.cancelled_caught:
            text = f"the session's child did not answer {call.method} within {within:g} s; stop the session if it hangs"
            raise TimedOut(text, method=call.method)
        if call.response is None:
            raise self._lost()
        try:
            return self._words.result(call.method, call.response)
        except InvalidParams as exc:
            breach = self._words.violation(exc)
            self._broken(breach)
            raise breach from exc

    async def hear(self, data: bytes) -> None:
        """Take in what the child says.

        Raises:
            WorkerViolation: it is not the protocol.
        """
        for message in self.codec.receive(data):
            await self._handle(message)

    async def _handle(self, message: rpc.Message) -> None:
        match message:
            case rpc.Response(msgid=msgid):
                self._answers += 1
                if call := self._calls.pop(msgid, None):
                    call.number, call.response = self._answers, message
                    call.over.set()
            case rpc.Notification("rpc.cancel", {"msgid": int(msgid)}):
                if scope := self._asked.get(msgid):
                    scope.cancel()
            case rpc.Notification(method=method, params=params):
                try:
                    await self._told(method, self._words.told(method, params))
                except (InvalidParams, MethodNotFound) as exc:
                    raise self._words.violation(exc) from exc
            case rpc.Request():
                await self._take(message)
            case rpc.Refused(msgid=msgid, error=error):
                await self._send(self.codec.failure(msgid, error))
            case rpc.Violation(error=error) | rpc.Unheard(error=error):
                raise self._words.violation(error)

    # --- requests of the child ---

    async def _take(self, request: rpc.Request) -> None:
        if handler := self.handlers.get(request.method):
            # A task of its own: answered here, a request that waits would stop all output of the child.
            self._asked[request.msgid] = scope = trio.CancelScope()
            self._start(lambda: self._answer(request, handler, scope))
        else:
            named = request.method[: rpc.MOST_NAMED]
            refusal = MethodNotFound(f"roostd does not answer {named!r} to a child", method=named)
            self.codec.answered(request.msgid)
            await self._send(self.codec.failure(request.msgid, refusal))

    async def _answer(self, request: rpc.Request, handler: Handler, scope: trio.CancelScope) -> None:
        msgid = request.msgid
        text = f"{request.method} is not answered any more: it was withdrawn, or its turn has ended; go on without"
        frame = self.codec.failure(msgid, RequestCancelled(text))
        with scope:
            try:
                frame = self.codec.response(msgid, await handler(request.params))
            except RoostError as exc:
                frame = self.codec.failure(msgid, exc)
            except Exception as exc:
                log.exception("a bug in the answer to %s", request.method)
                text = f"a bug in roostd: {exc!r}; please report it with the log"
                frame = self.codec.failure(msgid, InternalError(text))
        del self._asked[msgid]
        self.codec.answered(msgid)
        try:
            await self._send(frame)
        except RoostError:
            pass  # the child is gone, or does not read any more

    def withdraw(self) -> None:
        """The turn ends: requests of the child that are still open are answered with ``request_cancelled``."""
        for scope in self._asked.values():
            scope.cancel()

    async def _send(self, frame: bytes) -> None:
        if self._put is None:
            raise self._lost()
        try:
            await self._put(frame)
        except trio.BrokenResourceError:
            raise self._lost() from None

    def close(self) -> None:
        """Nothing is said any more: each task that waits for an answer is told."""
        self._put = None
        for call in self._calls.values():
            call.over.set()
        self._calls.clear()
        self.withdraw()
