"""The line to one worker: requests that wait for their answers, whole frames in order, and what it says by itself."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio

from ...protocol import rpc
from ...protocol import worker as wire
from ...protocol.errors import (
    InternalError,
    InvalidParams,
    MethodNotFound,
    NotSupported,
    RoostError,
    SessionBusy,
    TimedOut,
    TurnFailed,
    WorkerViolation,
    from_wire,
)
from ..waiting.errands import Errands, Starter
from .engine import problem

UNSENT = 100
"""Frames that wait for a child to read them."""
ITS_OWN = (NotSupported, SessionBusy, InternalError, TurnFailed)
"""Errors that a worker may answer with; every other name has a meaning of its own here."""

E = TypeVar("E", bound=RoostError)


class Line:
    """Speaks the worker protocol over two streams that somebody else opens and closes.

    Args:
        told: is given each checked notification. lost: why the worker cannot be spoken with.
        broken: is told when its answer breaks the protocol.
    """

    def __init__(
        self,
        told: Callable[[str, dict[str, Any]], Awaitable[None]],
        lost: Callable[[], RoostError],
        broken: Callable[[WorkerViolation], None],
    ) -> None:
        self.limits = rpc.Limits(nesting=wire.NESTING)
        self._told = told
        self._lost = lost
        self._broken = broken
        self._wire = rpc.Connection(self.limits)
        self._answers: dict[int, tuple[trio.MemorySendChannel[rpc.Response], Callable[[], None]]] = {}
        self._unsent = Errands[bytes](self._write, UNSENT)
        self._stream: trio.abc.SendStream
        self._deaf: Callable[[], Awaitable[None]]

    async def call(
        self,
        method: str,
        params: dict[str, Any],
        within: float = float("inf"),
        heard: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """Ask the worker; ``within`` in seconds.

        Args:
            heard: is called as the answer is heard, before any that the worker gave later: whoever waits for answers
                that come together goes on in any order.

        Raises:
            RoostError: what ``lost`` says, or an error of the worker's own. WorkerViolation, TimedOut.
        """
        msgid = self._wire.next_msgid()
        send, receive = trio.open_memory_channel[rpc.Response](1)
        self._answers[msgid] = send, heard
        try:
            with trio.fail_after(within):
                await self._send(rpc.request(msgid, method, params))
                response = await receive.receive()
        except trio.TooSlowError:
            text = f"the session's child did not answer {method} within {within:g} s; stop the session if it hangs"
            raise TimedOut(text, method=method) from None
        except trio.EndOfChannel:
            raise self._lost() from None
        finally:
            self._answers.pop(msgid, None)
        return self._checked(method, response)

    def _checked(self, method: str, response: rpc.Response) -> dict[str, Any]:
        try:
            if response.error is not None:
                raise _refusal(method, from_wire(response.error))
            return wire.check(wire.RESULTS, method, response.result)
        except InvalidParams as exc:
            error = violation(exc)
            self._broken(error)
            raise error from exc

    def awaits(self) -> bool:
        """Somebody waits for an answer."""
        return bool(self._answers)

    async def hear(self, data: bytes) -> None:
        """Take in what the worker says.

        Raises:
            WorkerViolation: it is not the protocol.
        """
        for message in self._wire.receive(data):
            await self._handle(message)

    async def _handle(self, message: rpc.Message) -> None:
        match message:
            case rpc.Response(msgid=msgid):
                if waiting := self._answers.pop(msgid, None):
                    channel, heard = waiting
                    heard()
                    channel.send_nowait(message)
            case rpc.Notification(method=method, params=params):
                try:
                    await self._told(method, wire.check(wire.TO_DAEMON, method, params))
                except (InvalidParams, MethodNotFound) as exc:
                    raise violation(exc) from exc
            case rpc.Request(msgid=msgid, method=method):
                self._wire.answered(msgid)
                named = method[: rpc.MOST_NAMED]
                refusal = MethodNotFound(f"roostd does not answer {named!r} to a worker", method=named)
                await self._send(rpc.failure(msgid, refusal))
            case rpc.Refused(msgid=msgid, error=error):
                await self._send(rpc.failure(msgid, error))
            case rpc.Violation(error=error) | rpc.Unheard(error=error):
                raise violation(error)

    async def _send(self, frame: bytes) -> None:
        try:
            await self._unsent.put(frame)
        except trio.BrokenResourceError:
            raise self._lost() from None

    def begin(self, stream: trio.abc.SendStream, deaf: Callable[[], Awaitable[None]], start: Starter) -> None:
        """Send what is to be sent, in tasks that ``start`` starts.

        Args:
            deaf: is called when the worker does not read any more.
        """
        self._stream, self._deaf = stream, deaf
        self._unsent.begin(start)

    async def _write(self, frame: bytes) -> None:
        """All of it: who gives up waiting must not leave half of a frame in the pipe."""
        try:
            await self._stream.send_all(frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._unsent.close()
            await self._deaf()

    def close(self) -> None:
        """Nothing is said any more: whoever waits for an answer is told."""
        self._unsent.close()
        for channel, _ in self._answers.values():
            channel.close()
        self._answers.clear()


def violation(error: RoostError) -> WorkerViolation:
    """A breach of the worker protocol, told as one of the session's child."""
    text = f"the session's child broke the worker protocol: {error.message}"
    return _cut(WorkerViolation(text, **{**error.data, "violation": error.wire_name}))


def _refusal(method: str, error: RoostError) -> RoostError:
    """An error that the worker answered with, as it is told on."""
    if isinstance(error, ITS_OWN):
        return _cut(error)
    text = f"it answered {method} with {error.wire_name}, which is not an error of a worker: {error.message}"
    return InvalidParams(text, method=method)


def _cut(error: E) -> E:
    """What a child said may be long: as much of it as is kept is told on."""
    kept = problem(error)
    return type(error)(kept.message, **kept.data)
