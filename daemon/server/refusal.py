"""A client that may not connect: its first request is answered with the reason, then it is gone."""

import socket
from collections.abc import Iterator

import trio

from ...protocol import rpc
from ...protocol.errors import RoostError

MOST_REFUSALS = 16
"""Clients that are told the reason at the same time; the others are closed without a word."""
PATIENCE = 1.0
"""Seconds that the client has for its first request."""
_LIMITS = rpc.Limits(frame=64 * 1024, pending=1)


async def refuse(sock: socket.socket, error: RoostError) -> None:
    """Answer the first request on ``sock`` with ``error``."""
    connection = rpc.Connection(_LIMITS)
    with trio.move_on_after(PATIENCE):
        while not connection.violated:
            await trio.lowlevel.wait_readable(sock)
            try:
                data = sock.recv(_LIMITS.frame)
                for msgid in _msgids(connection, data):
                    sock.send(rpc.failure(msgid, error))
                    return
            except OSError:
                return
            if not data:
                return


def _msgids(connection: rpc.Connection, data: bytes) -> Iterator[int]:
    for message in connection.receive(data):
        if isinstance(message, rpc.Request | rpc.Refused | rpc.Violation) and message.msgid is not None:
            yield message.msgid
