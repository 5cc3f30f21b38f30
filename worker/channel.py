"""The worker's end of the wire: private descriptors, blocking reads, whole messages written."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator

from ..protocol import rpc
from ..protocol import worker as wire
from ..protocol.errors import LocalProtocolError, ProtocolViolation
from .ending import end

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    from typing import Any

PIECE = 65536


def read_back(frame: bytes, limits: rpc.Limits) -> Any:
    """The message as roostd will read it.

    Raises:
        LocalProtocolError: it will not: there is a map with numbers as keys, for one, which could be encoded.
    """
    message = next(rpc.Connection(limits).receive(frame), None)
    if message is None:
        raise LocalProtocolError("the message is not whole")
    if isinstance(message, rpc.Violation):
        raise LocalProtocolError(message.error.message.removesuffix("; reconnect"))
    return message


class Channel:
    """The connection to roostd. Several threads may send; one reads."""

    def __init__(self, reading: int, writing: int) -> None:
        self.limits = rpc.Limits(nesting=wire.NESTING)
        """What roostd takes; it takes less depth than is read here."""
        self._wire = rpc.Connection()
        self._reading = reading
        self._writing = writing
        self._lock = threading.Lock()

    @classmethod
    def claim(cls) -> Channel:
        """Take over stdin and stdout: from here on 0 is /dev/null and 1 is stderr, here and in children."""
        channel = cls(os.dup(0), os.dup(1))  # a duplicate is close-on-exec
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.dup2(2, 1)
        stdout: object = sys.stdout
        if isinstance(stdout, io.TextIOWrapper):
            stdout.reconfigure(line_buffering=True)
        return channel

    def messages(self) -> Iterator[rpc.Message]:
        """What roostd says, until it closes the pipe."""
        while data := self._read():
            yield from self._wire.receive(data)
        if self._wire.incomplete and not self._wire.violated:
            yield rpc.Violation(None, ProtocolViolation("stdin ended in the middle of a message"))

    def _read(self) -> bytes:
        try:
            return os.read(self._reading, PIECE)
        except OSError:
            return b""  # a reset is an end too

    def answer(self, msgid: int, frame: bytes) -> None:
        """Send the response to request ``msgid``."""
        self._wire.answered(msgid)
        self.send(frame)

    def send(self, frame: bytes) -> None:
        """Write one message; a full pipe is waited for. Without a reader the process ends.

        Raises:
            LocalProtocolError: roostd does not take messages of that size.
        """
        if len(frame) > self.limits.frame:
            raise LocalProtocolError(f"a message of {len(frame)} bytes: roostd takes at most {self.limits.frame}")
        with self._lock:
            rest = memoryview(frame)
            while rest:
                rest = rest[self._write(rest) :]

    def _write(self, data: memoryview) -> int:
        try:
            return os.write(self._writing, data)
        except OSError as exc:
            end(os.EX_IOERR, f"roostd cannot be written to: {exc.strerror}")
