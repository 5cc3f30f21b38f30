"""How messages between daemon and child stand in bytes."""

from collections.abc import Iterator
from typing import Any, Protocol

from ...protocol import rpc
from ...protocol.errors import RoostError


class Codec(Protocol):
    """One side of one connection to a child: bytes in, messages out; messages in, bytes out."""

    limits: rpc.Limits

    def receive(self, data: bytes) -> Iterator[rpc.Message]:
        """The messages that ``data`` completes. A request beyond ``limits.pending`` comes as ``rpc.Refused``."""
        ...

    def next_msgid(self) -> int:
        """For a request of the daemon."""
        ...

    def answered(self, msgid: int) -> None:
        """A request of the child is answered; its msgid may be used again."""

    def request(self, msgid: int, method: str, params: dict[str, Any]) -> bytes: ...

    def response(self, msgid: int, result: Any) -> bytes:
        """Raises ``LocalProtocolError``: the result cannot be encoded."""
        ...

    def failure(self, msgid: int, error: RoostError) -> bytes: ...


class MessagePack(rpc.Connection):
    """MessagePack-RPC, as the daemon's own clients speak it."""

    request = staticmethod(rpc.request)
    response = staticmethod(rpc.response)
    failure = staticmethod(rpc.failure)
