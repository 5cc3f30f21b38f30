"""Whatever is sent, the server lives, other clients are served, and no handler sees what was not validated."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.served import connected, served
from roost.daemon.server import handlers
from roost.daemon.server.handlers import Handler
from roost.protocol import rpc
from roost.protocol.methods import METHODS

SAFE = sorted(set(METHODS) - {"session.create"})  # it would make thousands

leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))
fields = st.sampled_from(["session", "turn", "all", "after", "limit", "kinds", "timeout", "msgid", "input", "name"])
params = st.dictionaries(fields | st.text(max_size=5), values, max_size=4)
requests = st.builds(rpc.request, st.integers(0, 2**32 - 1), st.sampled_from(SAFE) | st.text(), params)
far = st.fixed_dictionaries({"all": st.just(True), "after": st.integers(2**53, 2**64 - 1)})
messages = (
    requests
    | st.builds(rpc.request, st.integers(0, 2**32 - 1), st.sampled_from(["events.read", "events.subscribe"]), far)
    | st.builds(rpc.notification, st.sampled_from(["rpc.cancel", "event"]), params)
    | st.builds(rpc.pack, values)
)


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A message with some bytes changed or cut off."""
    data = bytearray(draw(messages))
    for _ in range(draw(st.integers(1, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(1, len(data)))])


streams = st.lists(messages | spoiled() | st.binary(max_size=64), min_size=1, max_size=8).map(b"".join)


@st.composite
def pieces(draw: st.DrawFn) -> list[bytes]:
    """A stream, cut anywhere."""
    data = draw(streams)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def watched(method: str, handler: Handler) -> Handler:
    """The handler, which sees what it is given."""

    def seen(client: Any, given_params: Any) -> Any:
        assert type(given_params) is METHODS[method].params
        return handler(client, given_params)

    return seen


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(clients=st.lists(pieces(), min_size=1, max_size=10))
def test_no_bytes_take_the_server_down_or_reach_a_handler_unvalidated(
    clients: list[list[bytes]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for method, handler in handlers.HANDLERS.items():
        monkeypatch.setitem(handlers.HANDLERS, method, watched(method, handler))
    with tempfile.TemporaryDirectory() as scratch:
        trio.run(speak, Path(scratch), clients)
    monkeypatch.undo()
    assert [record for record in caplog.records if record.exc_info] == []


async def speak(scratch: Path, clients: list[list[bytes]]) -> None:
    async with served(scratch) as s, connected(s.path) as healthy:
        for sent in clients:
            async with connected(s.path) as client:
                for piece in sent:
                    try:
                        await client.send(piece)
                    except trio.BrokenResourceError:
                        break
                await healthy.call("daemon.status")
                await healthy.call("events.read", all=True)  # by then the client's own reads have ended
