"""What somebody wrote to make a worker, called as the protocol needs it; async functions run on one loop."""

from __future__ import annotations

from collections.abc import Callable

from ..protocol import rpc
from ..protocol import worker as wire
from ..protocol.errors import (
    InternalError,
    InvalidParams,
    LocalProtocolError,
    NotSupported,
    RoostError,
    TurnFailed,
)
from .channel import read_back
from .turn import Turn, print_traceback

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    from typing import Any


class Functions:
    """A worker's functions. All are called in the main thread, one at a time."""

    def __init__(
        self,
        turn: Callable[[Turn], Any],
        checkpoint: Callable[[], Any] | None,
        restore: Callable[[Any], Any] | None,
        clear: Callable[[], Any] | None,
    ) -> None:
        self._turn = turn
        self._checkpoint = checkpoint
        self._restore = restore
        self._clear = clear
        self._runner: Any = None

    @property
    def capabilities(self) -> list[str]:
        can = {"checkpoint": self._checkpoint, "clear": self._clear or self._restore}
        return [name for name, function in can.items() if function]

    def run(self, turn: Turn, limits: rpc.Limits) -> dict[str, Any]:
        """How the turn ended. One that was cancelled before is cancelled, whatever its function made of it."""
        try:
            self._call(self._turn, turn, turn=turn)
            if why := _no_code(turn.exit_code):
                raise ValueError(why)
            answer: dict[str, Any] = {"status": "completed", "exit_code": turn.exit_code}
        except TurnFailed as failure:
            code = failure.data.pop("exit_code", turn.exit_code)
            told = tellable(failure, limits)
            if why := _no_code(code):
                told.message, code = f"{told.message}; its {why}", None
            answer = {"status": "failed", "message": told.message, "exit_code": code, "data": told.data}
        except BaseException as error:
            if not turn.cancelled.is_set():
                print_traceback(error)
            answer = {"status": "failed", "message": last_line(error)}
        if turn.cancelled.is_set():
            answer["status"] = "cancelled"
        return answer

    def restore(self, state: Any) -> None:
        if self._restore:
            self._asked(self._restore, state)

    def clear(self) -> None:
        if self._clear:
            self._asked(self._clear)
        elif self._restore:
            self._asked(self._restore, None)
        else:
            raise NotSupported("this worker has no state that can be cleared")

    def state(self, limits: rpc.Limits) -> Any:
        """A copy of the state, known to fit into a message.

        Raises:
            NotSupported: there is no checkpoint function. InternalError: what it gave cannot be carried.
        """
        if self._checkpoint is None:
            raise NotSupported("this worker keeps no state")
        state = self._asked(self._checkpoint)
        try:
            frame = rpc.response(0, {"state": state})
        except LocalProtocolError as error:
            raise InternalError(f"the worker's state {error}; checkpoint must give plain data") from error
        try:
            return read_back(frame, limits.but(frame=min(limits.frame, wire.MOST_STATE))).result["state"]
        except LocalProtocolError as error:
            raise InternalError(f"the worker's state cannot be carried: {error}") from error

    def close(self) -> None:
        """End the loop of the async functions."""
        if self._runner:
            self._runner.close()

    def _asked(self, function: Callable[..., Any], *args: Any) -> Any:
        """What ``function`` returns to a request. InvalidParams as its answer would mean that roostd asked wrongly."""
        try:
            return self._call(function, *args)
        except InvalidParams as error:
            raise InternalError(error.message, **error.data) from error

    def _call(self, function: Callable[..., Any], *args: Any, turn: Turn | None = None) -> Any:
        result = function(*args)
        return self._wait(result, turn) if hasattr(result, "__await__") else result

    def _wait(self, awaitable: Any, turn: Turn | None) -> Any:
        import asyncio  # 6 MB that only async workers pay

        async def cancellable() -> Any:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            if turn and task:
                turn.on_cancel(lambda: loop.call_soon_threadsafe(task.cancel))
            return await awaitable

        self._runner = self._runner or asyncio.Runner()  # one loop for all turns: what is bound to it stays usable
        return self._runner.run(cancellable())


def tellable(error: RoostError, limits: rpc.Limits) -> RoostError:
    """``error`` as roostd can take it: data that cannot be carried is left out, and its message says so."""
    error.message = wire.shortened(error.message)
    if why := _unfit(error.data, limits):
        error.message, error.data = f"{error.message}; its data is left out: {why}", {}
    return error


def _no_code(code: Any) -> str | None:
    """Why roostd would not take ``code`` as an exit code; None: it would."""
    if code is None or (isinstance(code, int) and not isinstance(code, bool) and -(2**31) <= code < 2**31):
        return None
    return f"exit_code is {code!r:.100}, which is not one of a process"


def _unfit(data: dict[str, Any], limits: rpc.Limits) -> str | None:
    """Why data of an error cannot be carried; None: it can."""
    try:
        size = len(rpc.pack(data))
        if size > wire.MOST_FAILURE:
            return f"it has {size} bytes and may have {wire.MOST_FAILURE}"
        read_back(rpc.response(0, {"data": data}), limits)  # in an error it stands as deep
    except LocalProtocolError as error:
        return str(error)
    return None


def last_line(error: BaseException) -> str:
    """What a traceback of ``error`` ends with."""
    return wire.shortened(f"{type(error).__name__}: {error}".removesuffix(": "))
