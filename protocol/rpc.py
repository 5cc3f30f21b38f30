"""MessagePack-RPC as a sans-IO connection: bytes in, messages out; messages in, bytes out; limits on all of it.

Rules. 1. After a violation the connection is in error for ever: no later byte is looked at.
2. A message that can be read but is wrong in its params is answered and the connection goes on.
3. Nothing here knows which side it is, what a method means, or how bytes travel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgpack

from .errors import (
    DuplicateMsgid,
    FrameTooLarge,
    InvalidParams,
    InvalidRequest,
    LocalProtocolError,
    ProtocolViolation,
    RoostError,
    TooManyRequests,
)
from .record import Record, is_list, is_map

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    from typing import Any

REQUEST, RESPONSE, NOTIFICATION = 0, 1, 2
MAX_MSGID = 2**32 - 1
MOST_NAMED = 64
"""Characters of a method that a refusal says: it may be as long as a frame, and the refusing side keeps the answer."""
_HEAD_BYTES = 64  # enough for the array header, the type and the msgid of any frame


class Limits(Record):
    """The bounds of one connection.

    Attributes:
        frame: bytes of one message. nesting: depth of arrays and maps. pending: requests not yet answered.
        elements: members of one array or map.
    """

    __slots__ = __match_args__ = ("frame", "nesting", "pending", "elements")

    def __init__(
        self, frame: int = 16 * 1024 * 1024, nesting: int = 32, pending: int = 1024, elements: int = 262_144
    ) -> None:
        self.frame = frame
        self.nesting = nesting
        self.pending = pending
        self.elements = elements

    def but(self, *, frame: int, nesting: int | None = None) -> Limits:
        """The same, but for these."""
        return Limits(frame, self.nesting if nesting is None else nesting, self.pending, self.elements)


class Request(Record):
    """A request of the peer."""

    __slots__ = __match_args__ = ("msgid", "method", "params")

    def __init__(self, msgid: int, method: str, params: dict[str, Any]) -> None:
        self.msgid = msgid
        self.method = method
        self.params = params


class Response(Record):
    """An answer of the peer; ``error`` is None if there was none."""

    __slots__ = __match_args__ = ("msgid", "error", "result")

    def __init__(self, msgid: int, error: Any, result: Any) -> None:
        self.msgid = msgid
        self.error = error
        self.result = result


class Notification(Record):
    """A notification of the peer."""

    __slots__ = __match_args__ = ("method", "params")

    def __init__(self, method: str, params: dict[str, Any]) -> None:
        self.method = method
        self.params = params


class Refused(Record):
    """A request that must be answered with ``error`` and goes no further."""

    __slots__ = __match_args__ = ("msgid", "error")

    def __init__(self, msgid: int, error: RoostError) -> None:
        self.msgid = msgid
        self.error = error


class Unheard(Record):
    """A notification in MessagePack-RPC whose params are not one map: no side understands it."""

    __slots__ = __match_args__ = ("error",)

    def __init__(self, error: RoostError) -> None:
        self.error = error


class Violation(Record):
    """The last message of a connection: answer ``msgid`` if there is one, then close."""

    __slots__ = __match_args__ = ("msgid", "error")

    def __init__(self, msgid: int | None, error: ProtocolViolation) -> None:
        self.msgid = msgid
        self.error = error


Message = Request | Response | Notification | Refused | Unheard | Violation


def _refuse_ext(code: int, data: bytes) -> Any:
    raise ValueError(f"extension type {code} is not part of the protocol")


def pack(value: Any) -> bytes:
    """MessagePack bytes of ``value``.

    Raises:
        LocalProtocolError: it holds something MessagePack cannot carry.
    """
    try:
        return msgpack.packb(value, use_bin_type=True)
    except (TypeError, ValueError, OverflowError, UnicodeEncodeError) as exc:
        raise LocalProtocolError(f"cannot be encoded: {exc}") from exc


def unpack(data: bytes) -> Any:
    """The value in ``data``, which this side packed itself (a store row, a checkpoint)."""
    return msgpack.unpackb(data, raw=False, strict_map_key=False)


def array_header(n: int) -> bytes:
    """The bytes that start an array of ``n`` packed members, so that packed bytes can be joined, not packed again."""
    return msgpack.Packer().pack_array_header(n)


def request(msgid: int, method: str, params: dict[str, Any]) -> bytes:
    return pack([REQUEST, msgid, method, [params]])


def notification(method: str, params: dict[str, Any]) -> bytes:
    return pack([NOTIFICATION, method, [params]])


def notification_head(method: str) -> bytes:
    """The bytes before the packed params of a notification: ``notification_head(m) + pack(params)`` is one."""
    return b"\x93\x02" + pack(method) + b"\x91"


def result_head(msgid: int) -> bytes:
    """The bytes before the packed result of a response without error."""
    return b"\x94\x01" + pack(msgid) + b"\xc0"


def response(msgid: int, result: Any) -> bytes:
    return result_head(msgid) + pack(result)


def failure(msgid: int, error: RoostError) -> bytes:
    return pack([RESPONSE, msgid, error.to_wire(), None])


class Connection:
    """One side of one connection. Feed it the bytes that were read; it yields messages in order."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.pending: set[int] = set()
        """Inbound requests that are not answered yet."""
        self.violated = False
        self._last_msgid = 0
        # Offsets in the unpacker's stream: where the message that is not complete begins, and what was fed.
        self._start = self._fed = 0
        self._head = b""  # its first bytes, where they came in earlier pieces
        self._unpacker: msgpack.Unpacker | None = None  # 40 kB, made when first needed

    def __repr__(self) -> str:
        return f"<Connection pending={len(self.pending)}{' violated' if self.violated else ''}>"

    @property
    def incomplete(self) -> bool:
        """The bytes fed so far end in the middle of a message."""
        return self._fed > self._start

    def next_msgid(self) -> int:
        """A msgid for an outbound request; they wrap at 2**32."""
        self._last_msgid = self._last_msgid % MAX_MSGID + 1
        return self._last_msgid

    def answered(self, msgid: int) -> None:
        """An inbound request was answered; its msgid may be used again."""
        self.pending.discard(msgid)

    def receive(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that ``data`` completes. Cut anywhere, the messages are the same."""
        view = memoryview(data)
        while view and not self.violated:
            # Never more than the unpacker's headroom at once, so that its own buffer limit is not what trips.
            piece, view = view[: 1024 * 1024], view[1024 * 1024 :]
            yield from self._receive(bytes(piece))

    def _receive(self, piece: bytes) -> Iterator[Message]:
        unpacker = self._unpacker = self._unpacker or _unpacker(self.limits)
        begin = self._fed
        self._fed += len(piece)
        try:
            unpacker.feed(piece)
            for value in unpacker:
                self._check_size(unpacker.tell())
                check_nesting(value, self.limits.nesting)
                message = self._message(value)
                self._start, self._head = unpacker.tell(), b""
                yield message
            self._check_size(self._fed)
        except ProtocolViolation as exc:
            yield self._violate(exc, self._begun(piece, begin))
        except (ValueError, RecursionError, msgpack.UnpackException, msgpack.BufferFull) as exc:
            error = ProtocolViolation(f"this is not MessagePack-RPC: {exc}; reconnect")
            yield self._violate(error, self._begun(piece, begin))
        else:
            self._head = self._begun(piece, begin)

    def _begun(self, piece: bytes, begin: int) -> bytes:
        """The first bytes of the message that is not complete; ``piece`` was fed last, at ``begin``."""
        at = max(0, self._start - begin)
        return (self._head + piece[at : at + _HEAD_BYTES])[:_HEAD_BYTES]

    def _check_size(self, end: int) -> None:
        limit = self.limits.frame
        if end - self._start > limit:
            raise FrameTooLarge(f"a frame of more than {limit} bytes; send smaller ones and reconnect", limit=limit)

    def _message(self, value: Any) -> Message:
        match value:
            case [0, int(msgid), str(method), params] if not isinstance(msgid, bool) and 0 <= msgid <= MAX_MSGID:
                return self._request(msgid, method, params)
            case [1, int(msgid), error, result] if not isinstance(msgid, bool) and 0 <= msgid <= MAX_MSGID:
                return Response(msgid, error, result)
            case [2, str(method), params] if (named := _named(params)) is not None:
                return Notification(method, named)
            case [2, str() | bytes() as method, [*_]]:
                begun = method[:MOST_NAMED]
                text = f"the params of the notification {begun!r} are not an array of one map"
                return Unheard(InvalidParams(text, method=str(begun)))
            case _:
                raise InvalidRequest(_SHAPE)

    def _request(self, msgid: int, method: str, params: Any) -> Message:
        if msgid in self.pending:
            return Refused(msgid, DuplicateMsgid(f"msgid {msgid} is still in use; use another", msgid=msgid))
        named = _named(params)
        if named is None:
            error = InvalidParams("params must be an array of one map", method=method[:MOST_NAMED])
            return Refused(msgid, error)
        if len(self.pending) >= self.limits.pending:
            text = f"{self.limits.pending} requests wait on this connection; read their answers first"
            return Refused(msgid, TooManyRequests(text, limit=self.limits.pending))
        self.pending.add(msgid)
        return Request(msgid, method, named)

    def _violate(self, error: ProtocolViolation, head: bytes) -> Violation:
        self.violated = True
        self._unpacker = None
        return Violation(_msgid_of(head), error)


def check_nesting(value: Any, most: int, within: int = 0) -> None:
    """Refuse what is nested too deep, and timestamps (which never reach the ext hook).

    Args:
        most: how many arrays and maps may stand in one another. within: how many of them stand around ``value``.

    Raises:
        ProtocolViolation.
    """
    members: Iterable[Any]
    if is_list(value):
        members = value
    elif is_map(value):
        members = value.values()
    elif isinstance(value, msgpack.Timestamp):
        raise ProtocolViolation("extension types are not part of the protocol; send integers")
    else:
        return
    if within == most:
        raise ProtocolViolation(f"nested deeper than {most}; send flatter data", limit=most)
    for member in members:
        # Most are scalars: a call for each would be half of what decoding costs.
        if type(member) not in _SCALAR:
            check_nesting(member, most, within + 1)


_SHAPE = "send [0, msgid, method, [params]], [1, msgid, error, result] or [2, method, [params]]; reconnect"


_SCALAR = frozenset({str, int, float, bool, bytes, type(None)})


def _unpacker(limits: Limits) -> msgpack.Unpacker:
    return msgpack.Unpacker(
        raw=False,
        strict_map_key=True,
        use_list=True,
        ext_hook=_refuse_ext,
        read_size=4096,  # its first buffer, by default 1 MiB
        max_buffer_size=limits.frame + 1024 * 1024,
        max_array_len=limits.elements,
        max_map_len=limits.elements,
    )


def _named(params: Any) -> dict[str, Any] | None:
    """The one map that params are; no params are an empty one. None: they are something else."""
    if params == []:
        return {}
    if not is_list(params) or len(params) != 1 or not is_map(params[0]):
        return None
    named = params[0]
    return named if all(isinstance(key, str) for key in named) else None


def _msgid_of(head: bytes) -> int | None:
    """The msgid of a request whose first bytes are ``head``, if they tell."""
    unpacker = msgpack.Unpacker(raw=True)
    unpacker.feed(head)
    try:
        if unpacker.read_array_header() < 2 or unpacker.unpack() != REQUEST:
            return None
        msgid = unpacker.unpack()
    except (ValueError, msgpack.UnpackException):
        return None
    return msgid if isinstance(msgid, int) and not isinstance(msgid, bool) and 0 <= msgid <= MAX_MSGID else None
