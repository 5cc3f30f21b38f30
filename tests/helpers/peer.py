"""A small daemon for tests of the clients: it says what a test tells it to, on a real Unix socket."""

import contextlib
import socket
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from roost import __version__
from roost.protocol import rpc
from roost.protocol.errors import MethodNotFound, RoostError

Answer = Callable[[dict[str, Any]], Any]
LIMITS = {"frame": 65_536, "nesting": 32, "pending": 8, "prompt": 1000, "result": 65_536, "queue": 10}
HELLO: dict[str, Any] = {
    "protocol": 1,
    "server": {"name": "roostd", "version": __version__},
    "capabilities": [],
    "limits": LIMITS,
}


class Peer:
    """Answers each method from a table; a method whose answer is None is never answered.

    Attributes:
        answers: may be changed; a test may hang up in one.
        heard: every request, as (method, params), in order.
    """

    def __init__(self, path: Path, answers: dict[str, Answer]) -> None:
        self.path = str(path)
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.connections: list[socket.socket] = []
        self.answers: dict[str, Answer] = {"hello": lambda _: HELLO, **answers}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._left = 0
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Send a notification on the newest connection."""
        self.say(rpc.notification(method, params))

    def say(self, data: bytes) -> None:
        """Send any bytes on the newest connection."""
        with self._changed:
            self._changed.wait_for(lambda: self.connections, 10)
        self.connections[-1].sendall(data)

    def hang_up(self) -> None:
        """Close every connection."""
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def wait_heard(self, method: str) -> dict[str, Any]:
        """The params of the first request of ``method``, once it is here."""
        with self._changed:
            assert self._changed.wait_for(lambda: method in dict(self.heard), 10), f"{method} never came"
        return dict(self.heard)[method]

    def wait_left(self) -> None:
        """Wait until every client has closed its connection."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._left == len(self.connections), 10)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self.hang_up()
        for thread in self._threads:
            thread.join(10)
        for ended in (self._listener, *self.connections):
            ended.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with self._changed:
                    self.connections.append(connection)
                    self._changed.notify_all()
                thread = threading.Thread(target=self._serve, args=[connection], daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        framing = rpc.Connection()
        with contextlib.suppress(OSError):
            while data := connection.recv(65_536):
                for message in framing.receive(data):
                    assert isinstance(message, rpc.Request), message
                    self._hear(connection, message)
        with self._changed:
            self._left += 1
            self._changed.notify_all()

    def _hear(self, connection: socket.socket, request: rpc.Request) -> None:
        with self._changed:
            self.heard.append((request.method, request.params))
            self._changed.notify_all()
        try:
            answer = self.answers.get(request.method, _unknown)(request.params)
            if answer is not None:
                connection.sendall(rpc.response(request.msgid, answer))
        except RoostError as exc:
            connection.sendall(rpc.failure(request.msgid, exc))


def _unknown(params: dict[str, Any]) -> Any:
    raise MethodNotFound("there is no such method here")


@contextlib.contextmanager
def peer(path: Path, **answers: Answer) -> Generator[Peer]:
    """A peer at ``path``; ``session_get`` answers ``session.get``."""
    made = Peer(path, {name.replace("_", "."): answer for name, answer in answers.items()})
    try:
        yield made
    finally:
        made.close()
