"""The yardstick of round trips: the least a Trio program can do. It answers every so many bytes with the same bytes.

Arguments: the socket's path, the bytes of one request, ``decode`` if each is to be decoded first. The reply is read
from stdin.
"""

import socket
import sys

import msgpack
import trio


async def main(path: str, request: int, decode: bool, reply: bytes) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        got, unpacker = 0, msgpack.Unpacker()
        while data := await stream.receive_some(65536):
            if decode:
                unpacker.feed(data)
                await stream.send_all(b"".join([reply for _ in unpacker]))
                continue
            whole, got = divmod(got + len(data), request)
            if whole:
                await stream.send_all(reply * whole)

    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen()
    print("ready", flush=True)
    await trio.serve_listeners(serve, [trio.SocketListener(trio.socket.from_stdlib_socket(listener))])


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]), "decode" in sys.argv, sys.stdin.buffer.read())
