"""Many clients in one process, each of which decodes every event and checks that its seq follows the one before.

Arguments: the socket's path, how many, the session. Prints ``ready``, and after each has seen ``turn.completed`` how
many events came in how many seconds, from the first to the last, as JSON.
"""

import json
import select
import signal
import sys
import time
from typing import Any

import msgpack

from roost.protocol import rpc

from .wire import READ_BYTES, Wire


class Subscriber:
    """One of them."""

    def __init__(self, path: str, session: str) -> None:
        self.wire = Wire(path)
        self.events = 0
        self.completed = False
        self._seq: int | None = None
        self._unpacker = msgpack.Unpacker(max_buffer_size=1 << 28)
        self.wire.reply(rpc.request(1, "events.subscribe", {"session": session}))

    def read(self) -> None:
        data = self.wire.socket.recv(READ_BYTES)
        if not data:
            raise EOFError("the daemon closed a subscriber's connection")
        self._unpacker.feed(data)
        for _, method, (event,) in self._unpacker:
            if method != "event":
                raise ValueError(f"a subscription ended: {event}")
            self._check(event)

    def _check(self, event: dict[str, Any]) -> None:
        seq = event["seq"]
        if self._seq is not None and seq != self._seq + 1:
            raise ValueError(f"event {seq} came after event {self._seq}")
        self._seq = seq
        self.events += 1
        self.completed |= event["kind"] == "turn.completed"


SECONDS = 60
"""After which this ends without a result."""


def main(path: str, count: int, session: str) -> None:
    signal.alarm(SECONDS)
    subscribers = [Subscriber(path, session) for _ in range(count)]
    print("ready", flush=True)
    waiting = {subscriber.wire.socket.fileno(): subscriber for subscriber in subscribers}
    poll = select.epoll()
    for descriptor in waiting:
        poll.register(descriptor, select.EPOLLIN)
    begin = 0.0
    while waiting:
        for descriptor, _ in poll.poll():
            begin = begin or time.monotonic()
            waiting[descriptor].read()
            if waiting[descriptor].completed:
                poll.unregister(descriptor)
                del waiting[descriptor]
    seconds = time.monotonic() - begin
    print(json.dumps({"events": sum(subscriber.events for subscriber in subscribers), "seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
