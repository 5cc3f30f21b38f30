"""A blocking connection to the daemon: ``protocol.rpc`` driven over a Unix socket, with deadlines.

No Trio and no pydantic here, and ``_socket`` in place of ``socket``: the quick verbs pay for every import.
"""

from __future__ import annotations

import _socket
import time
from collections import deque

from ..protocol import rpc
from ..protocol.errors import ConnectionLost, ProtocolMismatch, TimedOut, from_wire
from . import frames, peer

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    from typing import Any, Self

HELLO_SECONDS = 15.0
"""How long a daemon may take to accept and greet; systemd may first have to start it."""
CALL_SECONDS = 60.0
"""How long a daemon may take to answer what it need not wait for."""

_READ_BYTES = 65_536  # more would be mapped and unmapped at each read
_RETRY_SECONDS = 0.02
_ALERT_SECONDS = 1.0
"""A Ctrl-C that comes right before the kernel begins to wait is noticed when it stops waiting."""


class Connection:
    """One greeted connection.

    Args:
        path: the daemon's socket.
        name: what this client calls itself; it is recorded on what it does.
        timeout: seconds for connecting and for the greeting.

    Raises:
        DaemonUnreachable: nobody listens at ``path``, it may not be used, or nobody answers there.
        PeerUntrusted: another user listens there, who was told nothing.
        ProtocolMismatch: the daemon speaks another version of the protocol.
    """

    def __init__(self, path: str, *, name: str = "roost", timeout: float = HELLO_SECONDS) -> None:
        self.path = path
        self._rpc = rpc.Connection()
        self._answers: dict[int, rpc.Response] = {}
        self._notifications: deque[rpc.Notification] = deque()
        self._limits: dict[str, int] = {}
        deadline = time.monotonic() + timeout
        self._socket = _connected(path, deadline)
        try:
            peer.check(self._socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, peer.CREDENTIALS), path)
            hello = self._greet(name, deadline - time.monotonic())
        except BaseException:
            self.close()
            raise
        self.server_version = str(hello.get("server", {}).get("version", ""))
        """The version of the program roostd, which need not be ours."""
        self._limits = hello.get("limits", {})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def call(self, method: str, params: dict[str, Any], timeout: float | None = CALL_SECONDS) -> dict[str, Any]:
        """The result of ``method``. ``timeout`` is in seconds; None waits for ever.

        Raises:
            RoostError: the daemon's own error, as the class of its name.
            TimedOut: no answer in time; the request was withdrawn, what it asked for may still happen.
            ConnectionLost: the daemon went away.
        """
        return self.result(self.send(method, params), method, timeout)

    def send(self, method: str, params: dict[str, Any]) -> int:
        """Send a request and do not wait; its msgid is for :meth:`result`.

        Raises:
            InvalidParams, FrameTooLarge: it is over the daemon's limits or not UTF-8; nothing was sent.
        """
        msgid = self._rpc.next_msgid()
        self._write(frames.request(msgid, method, params, self._limits))
        return msgid

    def check(self, method: str, params: dict[str, Any]) -> None:
        """Raise what :meth:`send` would of these params, and send nothing."""
        frames.request(0, method, params, self._limits)

    def result(self, msgid: int, method: str = "", timeout: float | None = CALL_SECONDS) -> dict[str, Any]:
        """Wait for the answer to a request that was sent; raises as :meth:`call` does."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while msgid not in self._answers:
            left = None if deadline is None else deadline - time.monotonic()
            if (left is not None and left <= 0) or not self.receive(left):
                self._write(rpc.request(self._rpc.next_msgid(), "rpc.cancel", {"msgid": msgid}))
                raise TimedOut(f"the daemon did not answer {method} within {timeout:g} s; try again", method=method)
        answer = self._answers.pop(msgid)
        if answer.error is not None:
            raise from_wire(answer.error)
        return answer.result  # type: ignore[no-any-return]

    def take(self) -> rpc.Notification | None:
        """The next notification that is already here, or None."""
        return self._notifications.popleft() if self._notifications else None

    def receive(self, timeout: float | None = None) -> bool:
        """Read what the daemon sent, waiting up to ``timeout`` seconds; False if nothing came.

        Raises:
            ConnectionLost: the daemon closed the connection.
            ProtocolViolation: it sent what is not the protocol.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (data := self._read(deadline)) is None:
            if deadline is not None and time.monotonic() >= deadline:
                return False
        for message in self._rpc.receive(data):
            match message:
                case rpc.Response():
                    self._answers[message.msgid] = message
                case rpc.Notification():
                    self._notifications.append(message)
                case rpc.Violation():
                    raise message.error
                case _:
                    pass  # the daemon asks nothing of a client
        return True

    def _read(self, deadline: float | None) -> bytes | None:
        """What came by the deadline, or within :data:`_ALERT_SECONDS`; None: nothing."""
        left = _ALERT_SECONDS if deadline is None else min(deadline - time.monotonic(), _ALERT_SECONDS)
        self._socket.settimeout(max(left, 0))
        try:
            data = self._socket.recv(_READ_BYTES)
        except (TimeoutError, BlockingIOError):
            return None
        except OSError as exc:
            raise self._lost() from exc
        if not data:
            raise self._lost()
        return data

    def _greet(self, name: str, timeout: float) -> dict[str, Any]:
        try:
            return frames.greeted(self.call("hello", frames.hello(name), max(timeout, 0.001)))
        except TimedOut as exc:
            raise frames.silent(self.path) from exc
        except ConnectionLost as exc:
            raise frames.departed(self.path) from exc
        except ProtocolMismatch as exc:
            raise frames.mismatched(exc) from exc

    def _write(self, frame: bytes) -> None:
        self._socket.settimeout(CALL_SECONDS)
        try:
            self._socket.sendall(frame)
        except OSError as exc:
            raise self._lost() from exc

    def _lost(self) -> ConnectionLost:
        return frames.lost(self.path)


def _connected(path: str, deadline: float) -> _socket.socket:
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    # Not blocking: the connect of a full backlog waits for ever, whatever the socket's timeout.
    sock.setblocking(False)
    while True:
        try:
            sock.connect(path)
        except BlockingIOError as exc:
            if time.monotonic() > deadline:
                sock.close()
                raise frames.silent(path) from exc
            time.sleep(_RETRY_SECONDS)
        except OSError as exc:
            sock.close()
            raise frames.unreachable(path, exc) from exc
        else:
            return sock
