"""Stands between clients and a daemon and passes what they say; the answer to one request waits until it may come."""

import contextlib
import socket
import threading
from pathlib import Path
from typing import Self

from helpers.daemon import DEADLINE

_READ_BYTES = 65_536


class Relay:
    """Listens at ``path`` for clients of the daemon at ``daemon``.

    Attributes:
        asked: set when a client has asked ``method``, before the daemon hears it.
        go: what the daemon says after that waits until it is set.
    """

    def __init__(self, path: Path, daemon: Path, method: str) -> None:
        self.asked, self.go = threading.Event(), threading.Event()
        self._daemon, self._method = str(daemon), method.encode()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                daemon = socket.socket(socket.AF_UNIX)
                daemon.connect(self._daemon)
                for ends in ((client, daemon), (daemon, client)):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        """From one to the other until one of them closes; the first that ends shuts both down, the last closes."""
        with contextlib.suppress(OSError):
            while data := source.recv(_READ_BYTES):
                if self._method in data:
                    self.asked.set()
                elif self.asked.is_set():
                    self.go.wait(DEADLINE)
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()
