"""Bytes as they were sent: results and events taken apart without being decoded, to be compared byte for byte."""

import msgpack

from roost.protocol import rpc


def raw_events(response: bytes) -> list[bytes]:
    """The packed events of the bytes of one ``events.read`` response."""
    unpacker = msgpack.Unpacker(max_buffer_size=0)
    unpacker.feed(response)
    assert unpacker.read_array_header() == 4
    for _ in range(3):
        unpacker.skip()
    for _ in range(unpacker.read_map_header()):
        if unpacker.unpack() == "events":
            return _members(unpacker, response)
        unpacker.skip()
    raise AssertionError("it holds no events")


def _members(unpacker: msgpack.Unpacker, data: bytes) -> list[bytes]:
    found: list[bytes] = []
    for _ in range(unpacker.read_array_header()):
        start = unpacker.tell()
        unpacker.skip()
        found.append(data[start : unpacker.tell()])
    return found


def frames(stream: bytes) -> list[bytes]:
    """The whole messages in ``stream``."""
    unpacker = msgpack.Unpacker(max_buffer_size=0)
    unpacker.feed(stream)
    found: list[bytes] = []
    start = 0
    while start < len(stream):
        unpacker.skip()
        found.append(stream[start : unpacker.tell()])
        start = unpacker.tell()
    return found


def as_notifications(events: list[bytes]) -> list[bytes]:
    return [rpc.notification_head("event") + event for event in events]
