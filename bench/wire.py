"""A client that does nothing but send and receive: what a round trip costs is then the daemon's."""

import socket
import time
from collections.abc import Iterator

from roost.protocol import rpc

READ_BYTES = 1 << 20


class Wire:
    """One blocking socket.

    Args:
        path: of a Unix socket somebody listens at.
    """

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(60)
        self.socket.connect(path)
        self._room = memoryview(bytearray(READ_BYTES))  # a new one for each read would be what is measured

    def close(self) -> None:
        self.socket.close()

    def exchange(self, request: bytes, reply: int) -> None:
        """Send ``request``, read ``reply`` bytes."""
        self.socket.sendall(request)
        self.skip(reply)

    def skip(self, count: int) -> None:
        while count > 0:
            count -= self._some()

    def _some(self) -> int:
        if not (got := self.socket.recv_into(self._room)):
            raise EOFError("the other side closed the connection in the middle of a measurement")
        return got

    def reply(self, request: bytes) -> bytes:
        """The bytes of the answer to ``request``, which must not be an error."""
        self.socket.sendall(request)
        data, connection = b"", rpc.Connection()
        while True:
            data += (piece := self.socket.recv(READ_BYTES))
            for message in connection.receive(piece):
                if not isinstance(message, rpc.Response) or message.error is not None:
                    raise ValueError(f"the answer to a measured request was {message}")
                return data

    def round_trips(self, request: bytes, reply: int, count: int) -> list[float]:
        """Seconds of each of ``count`` exchanges."""
        samples: list[float] = []
        clock = time.perf_counter
        for _ in range(count):
            begin = clock()
            self.exchange(request, reply)
            samples.append(clock() - begin)
        return samples

    def in_flight(self, requests: list[bytes], reply: int, count: int) -> float:
        """Seconds for ``count`` requests when as many as ``requests`` has, all of one size, are always on their way."""
        size, window = len(requests[0]), len(requests)
        ring = b"".join(requests) * 2
        begin = time.perf_counter()
        self.socket.sendall(b"".join(requests))
        sent, answered, got = window, 0, 0
        while answered < count:
            got += self._some()
            done, got = divmod(got, reply)
            answered += done
            more = min(done, count - sent)
            if more > 0:
                place = sent % window * size
                self.socket.sendall(ring[place : place + more * size])
                sent += more
        return time.perf_counter() - begin

    def messages(self) -> Iterator[rpc.Message]:
        """What arrives, decoded, until the other side closes."""
        connection = rpc.Connection()
        while data := self.socket.recv(READ_BYTES):
            yield from connection.receive(data)
