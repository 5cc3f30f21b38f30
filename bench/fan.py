"""The yardstick of fan-out: a bare Trio program that has the events packed already and sends them to all, in bursts.

Arguments: the socket's path, how many subscribers to wait for, how many events. It begins when stdin ends.
"""

import socket
import sys

import trio

from roost.protocol import rpc

BURST = 32
"""Events in one send."""


def bursts(count: int) -> list[bytes]:
    events = [_event(seq, "turn.progressed") for seq in range(1, count)] + [_event(count, "turn.completed")]
    return [b"".join(events[begin : begin + BURST]) for begin in range(0, count, BURST)]


def _event(seq: int, kind: str) -> bytes:
    data = {"message": "one of many things that go on", "fraction": 0.5}
    head = {"session": "s-aaaaaaaaaaaaaaaa", "seq": seq, "offset": seq, "at": 1_700_000_000_000, "kind": kind}
    return rpc.notification("event", {**head, "turn": "t-aaaaaaaaaaaaaaaa", "data": data})


async def send(sock: socket.socket, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[sock.send(rest) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock)


async def main(path: str, subscribers: int, count: int) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(subscribers)
    prepared = bursts(count)
    print("ready", flush=True)
    socks: list[socket.socket] = []
    while len(socks) < subscribers:
        sock, _ = listener.accept()
        sock.recv(4096)
        sock.send(rpc.response(1, {}))
        sock.setblocking(False)
        socks.append(sock)
    sys.stdin.read()
    for burst in prepared:
        for sock in socks:
            await send(sock, burst)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
