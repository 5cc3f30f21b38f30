"""A child that does what its prompts say, so that the daemon and not the child is what is measured.

``tick COUNT RATE``: progress with the time it was sent at, RATE a second. ``burst COUNT``: progress, as fast as the
pipe takes it. ``items COUNT``: messages, each a start, a delta and an end. ``hang``: never end.
"""

import os
import time
from collections.abc import Callable
from typing import Any

from roost.protocol import rpc, worker

BLOCK = 64
"""Messages of one write."""


def tell(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def tick(count: int, rate: int) -> None:
    begin = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, begin + number / rate - time.monotonic()))
        tell(rpc.notification("progress", {"message": str(time.monotonic_ns())}))


def burst(count: int) -> None:
    block = rpc.notification("progress", {"message": "one of many things that go on", "fraction": 0.5}) * BLOCK
    for _ in range(count // BLOCK):
        tell(block)
    tell(block[: len(block) // BLOCK * (count % BLOCK)])


def items(count: int) -> None:
    for begin in range(0, count, BLOCK):
        tell(b"".join(map(item, range(begin, min(begin + BLOCK, count)))))


def item(number: int) -> bytes:
    name = {"item": str(number)}
    return b"".join(
        [
            rpc.notification("item.start", {**name, "kind": "agent_message"}),
            rpc.notification("item.delta", {**name, "text": "one of many things that are said"}),
            rpc.notification("item.end", {**name, "state": "completed"}),
        ]
    )


PROMPTS: dict[str, Callable[..., None]] = {"tick": tick, "burst": burst, "items": items}
ANSWERS: dict[str, dict[str, Any]] = {
    "initialize": {"protocol": worker.PROTOCOL, "capabilities": []},
    "turn.run": {"status": "completed"},
    "state.get": {"state": None},
}


def answer(request: rpc.Request) -> None:
    if request.method == "turn.run":
        verb, *numbers = str(request.params["input"]).split()
        if verb == "hang":
            return
        PROMPTS[verb](*map(int, numbers))
    tell(rpc.response(request.msgid, ANSWERS.get(request.method, {})))


def main() -> None:
    connection = rpc.Connection()
    while data := os.read(0, 65536):
        for message in connection.receive(data):
            if isinstance(message, rpc.Request):
                connection.answered(message.msgid)
                answer(message)
                if message.method == "shutdown":
                    return


if __name__ == "__main__":
    main()
