"""The worker protocol for people who write workers.

A reader thread answers what must be answered at once. All functions of the worker are called in the main thread, one
at a time; so while a turn runs, its state is the copy that was taken when the turn before it had ended.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

from ..protocol import rpc
from ..protocol.errors import (
    InternalError,
    InvalidRequest,
    ProtocolMismatch,
    ProtocolViolation,
    RoostError,
    SessionBusy,
)
from ..protocol.worker import PROTOCOL, RESULTS, TO_WORKER, check
from .channel import Channel
from .ending import end, end_started
from .functions import Functions, last_line, tellable
from .turn import Session, Turn, print_traceback

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    from typing import Any, Literal

    Act = Callable[[dict[str, Any]], dict[str, Any]]


def run(
    turn: Callable[[Turn], Any],
    *,
    checkpoint: Callable[[], Any] | None = None,
    restore: Callable[[Any], Any] | None = None,
    clear: Callable[[], Any] | None = None,
    save: Literal["turn", "asked"] = "turn",
    name: str = "",
    version: str = "",
) -> None:
    """Serve roostd until it says ``shutdown``. stdin and stdout are taken over first: print goes to stderr.

    Args:
        turn: called with each :class:`Turn`; may be async. It returns: completed. It raises: failed.
        checkpoint: gives the worker's state, as something MessagePack can carry. Called between any two turns.
        restore: called once, before the first turn, with the state that was saved last, if there is one.
        clear: forget the state; ``restore(None)`` is called if there is only that.
        save: ``turn`` sends the state with the end of each turn; ``asked`` only when roostd asks (a state that is
            expensive to take), and then what came after the last request is lost in a crash.
        name, version: what the worker is called.
    """
    told = {key: value for key, value in {"name": name, "version": version}.items() if value}
    saves = checkpoint is not None and save == "turn"
    Worker(Channel.claim(), Functions(turn, checkpoint, restore, clear), saves, told).serve()


class Worker:
    """Answers roostd's requests with a worker's functions."""

    def __init__(self, channel: Channel, functions: Functions, saves_turns: bool, told: dict[str, str]) -> None:
        self._channel = channel
        self._functions = functions
        self._saves_turns = saves_turns
        self._told = told
        self._inbox: SimpleQueue[rpc.Request | None] = SimpleQueue()
        self._session: Session | None = None
        self._interrupted: dict[str, Any] | None = None
        self._turn: Turn | None = None
        self._saved: dict[str, Any] = {}  # {"state": a copy}, or empty when none was taken after the last turn
        self._telling = threading.Lock()  # held while that copy is told, or replaced at a turn's end
        self._calls: dict[str, Act] = {
            "initialize": self._initialize,
            "turn.run": self._run_turn,
            "turn.cancel": self._cancel,
            "state.get": self._state,
            "state.clear": self._clear,
            "checkpoint": self._state,
            "ping": _nothing,
            "shutdown": _nothing,
        }

    def serve(self) -> None:
        threading.Thread(target=self._listen, name="roost-wire", daemon=True).start()
        while request := self._inbox.get():
            self._reply(request, self._calls[request.method])
        self._functions.close()
        end_started()

    # --- the reader thread ---

    def _listen(self) -> None:
        try:
            self._hear()
        except BaseException as error:
            print_traceback(error)
            end(os.EX_SOFTWARE, "its reader failed; this is a bug in roost")
        end(os.EX_OK)  # roostd has closed stdin, or is gone

    def _hear(self) -> None:
        for message in self._channel.messages():
            match message:
                case rpc.Request():
                    self._take(message)
                case rpc.Refused():
                    self._channel.send(rpc.failure(message.msgid, message.error))
                case rpc.Violation():
                    if message.msgid is not None:
                        self._channel.send(rpc.failure(message.msgid, message.error))
                    _end_for(message.error)
                case rpc.Response() | rpc.Notification() | rpc.Unheard():
                    pass  # an answer that nobody waits for, or a notification of a newer roostd

    def _take(self, request: rpc.Request) -> None:
        """Answer it here, or leave it to the main thread."""
        method = request.method
        try:
            check(TO_WORKER, method, request.params)
            self._admit(request)
        except RoostError as error:
            self._channel.answer(request.msgid, rpc.failure(request.msgid, error))
            return
        if method in ("ping", "turn.cancel", "shutdown"):
            self._reply(request, self._calls[method])
        elif method not in ("state.get", "checkpoint") or not self._tell(request):
            self._inbox.put(request)
        if method == "shutdown":
            self._stop()

    def _admit(self, request: rpc.Request) -> None:
        method, running = request.method, self._turn
        if method in ("initialize", "ping", "turn.cancel", "shutdown"):
            return
        if self._session is None:
            raise InvalidRequest(f"send initialize, and wait for its answer, before {method}", method=method)
        if running and method in ("turn.run", "state.clear"):
            raise SessionBusy(f"turn {running.id} still runs; cancel it or wait for its end", turn=running.id)
        if method == "turn.run":
            self._turn = Turn(self._channel, self._session, request.params, self._interrupted)
            self._interrupted = None

    def _tell(self, request: rpc.Request) -> bool:
        """Tell the state from before the running turn, and tell it before its answer: else it would count as later."""
        with self._telling:
            if not (self._turn and (saved := self._saved)):
                return False
            self._reply(request, lambda params: saved)
            return True

    def _cancel(self, params: dict[str, Any]) -> dict[str, Any]:
        running = self._turn
        if running and running.id == params["turn"]:
            running.cancel(params["reason"])
        return {}

    def _stop(self) -> None:
        if self._turn:
            end(os.EX_OK)
        self._inbox.put(None)

    # --- the main thread ---

    def _reply(self, request: rpc.Request, act: Act) -> None:
        msgid = request.msgid
        try:
            result = check(RESULTS, request.method, act(request.params))
            self._channel.answer(msgid, rpc.response(msgid, result))
        except RoostError as error:
            self._channel.answer(msgid, rpc.failure(msgid, tellable(error, self._channel.limits)))
        except Exception as error:
            print_traceback(error)
            text = f"the worker failed in {request.method}: {last_line(error)}; its stderr says where"
            self._channel.answer(msgid, rpc.failure(msgid, InternalError(text, method=request.method)))

    def _initialize(self, params: dict[str, Any]) -> dict[str, Any]:
        if self._session is not None:
            raise InvalidRequest("initialize was sent already; start another worker")
        if params["protocol"] != PROTOCOL:
            text = f"roostd speaks worker protocol {params['protocol']}, this worker {PROTOCOL}; update the older one"
            raise ProtocolMismatch(text, protocol=PROTOCOL)
        given = {name: limit for name, limit in params["limits"].items() if isinstance(limit, int)}
        limits = self._channel.limits
        self._channel.limits = limits.but(
            frame=given.get("frame", limits.frame), nesting=given.get("nesting", limits.nesting)
        )
        if "state" in params:
            self._functions.restore(params["state"])
        self._saved = self._copy()
        self._interrupted = params.get("interrupted")
        self._session = Session(params["session"], params["workspace"], params["history"])
        return {"protocol": PROTOCOL, "capabilities": self._functions.capabilities, **self._told}

    def _run_turn(self, params: dict[str, Any]) -> dict[str, Any]:
        turn = self._turn
        assert turn
        answer = self._functions.run(turn, self._channel.limits)
        saved: dict[str, Any] = {}
        try:
            saved = self._copy()
        except Exception as error:
            print_traceback(error)
            turn.end_items(answer["status"])  # as many as may be are open, perhaps
            turn.emit("error", f"the state after this turn could not be saved: {last_line(error)}")
        turn.close(answer["status"])
        with self._telling:
            self._turn, self._saved = None, saved
        return answer | saved

    def _state(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"state": self._functions.state(self._channel.limits)}

    def _clear(self, params: dict[str, Any]) -> dict[str, Any]:
        self._functions.clear()
        self._saved = {}
        self._saved = self._copy()
        return dict(self._saved)

    def _copy(self) -> dict[str, Any]:
        """What is sent of the state with the end of a turn, and told while the next one runs."""
        return self._state({}) if self._saves_turns else {}


def _nothing(params: dict[str, Any]) -> dict[str, Any]:
    return {}


def _end_for(error: ProtocolViolation) -> None:
    end(os.EX_PROTOCOL, f"roostd broke the worker protocol: {error.message}")
