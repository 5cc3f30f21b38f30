"""MessagePack-RPC without I/O: any message round-trips, any bytes cut anywhere are survived, limits hold."""

import pickle
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.protocol import rpc
from roost.protocol.errors import LocalProtocolError
from roost.protocol.errors import SessionNotFound as NotFound

msgids = st.integers(0, rpc.MAX_MSGID)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
params = st.dictionaries(st.text(), values, max_size=4)
messages = st.one_of(
    st.builds(rpc.Request, msgids, st.text(), params),
    st.builds(rpc.Response, msgids, values, values),
    st.builds(rpc.Notification, st.text(), params),
)


def encode(message: Any) -> bytes:
    match message:
        case rpc.Request(msgid, method, named):
            return rpc.request(msgid, method, named)
        case rpc.Notification(method, named):
            return rpc.notification(method, named)
        case rpc.Response(msgid, error, result):
            return rpc.pack([rpc.RESPONSE, msgid, error, result])
        case _:
            raise AssertionError(message)


def received(data: bytes, limits: rpc.Limits | None = None, step: int = 0) -> list[rpc.Message]:
    """What a fresh connection makes of ``data``, fed ``step`` bytes at a time; requests are answered at once."""
    wire = rpc.Connection(limits)
    found: list[rpc.Message] = []
    for at in range(0, len(data), step or len(data) or 1):
        for message in wire.receive(data[at : at + (step or len(data))]):
            found.append(message)
            if isinstance(message, rpc.Request):
                wire.answered(message.msgid)
    return found


@given(st.lists(messages, max_size=5), st.integers(1, 50), st.data())
def test_any_messages_round_trip_however_they_are_cut_and_one_byte_changed_is_survived(
    sent: list[Any], step: int, drawn: st.DataObject
) -> None:
    data = b"".join(encode(message) for message in sent)
    assert received(data) == sent
    assert received(data, step=step) == sent
    changed = bytearray(data or encode(rpc.Request(1, "m", {})))
    changed[drawn.draw(st.integers(0, len(changed) - 1))] = drawn.draw(st.integers(0, 255))
    for found in received(bytes(changed)):
        if isinstance(found, rpc.Request):
            assert isinstance(found.method, str) and all(isinstance(key, str) for key in found.params)


@given(st.binary(max_size=300), st.integers(1, 20))
def test_any_bytes_are_survived_and_mean_the_same_however_they_are_cut(data: bytes, step: int) -> None:
    whole = received(data)
    assert [kind(m) for m in received(data, step=step)] == [kind(m) for m in whole]
    assert not any(isinstance(m, rpc.Violation) for m in whole[:-1]), "a violation is the last there is"


def kind(message: rpc.Message) -> Any:
    return message if not isinstance(message, rpc.Violation) else (rpc.Violation, message.msgid)


def test_every_cut_of_one_frame() -> None:
    frame = rpc.request(5, "session.get", {"session": "s-abc"}) + rpc.notification("event", {"seq": 1})
    for cut in range(len(frame) + 1):
        wire = rpc.Connection()
        found = [*wire.receive(frame[:cut]), *wire.receive(frame[cut:])]
        assert found == [rpc.Request(5, "session.get", {"session": "s-abc"}), rpc.Notification("event", {"seq": 1})]


def test_a_frame_of_the_limit_passes_and_one_byte_more_is_answered_and_ends_it() -> None:
    limits = rpc.Limits(frame=1000)
    overhead = len(rpc.request(7, "m", {"a": b"x" * 900})) - 900
    fits = rpc.request(7, "m", {"a": b"x" * (1000 - overhead)})
    assert len(fits) == 1000 and isinstance(received(fits, limits)[0], rpc.Request)
    over = rpc.request(7, "m", {"a": b"x" * (1001 - overhead)})
    for step in (0, 1, 7, 999):
        (violation,) = received(over, limits, step)
        assert isinstance(violation, rpc.Violation)
        assert (violation.msgid, violation.error.name) == (7, "frame_too_large")


@pytest.mark.parametrize("step", [1, 7, 500, 999])
def test_a_frame_of_the_limit_passes_however_it_is_cut(step: int) -> None:
    frame = rpc.request(7, "m", {"a": "x" * 900})
    limits = rpc.Limits(frame=len(frame))
    assert received(frame * 3, limits, step) == [rpc.Request(7, "m", {"a": "x" * 900})] * 3


def test_a_large_frame_in_small_pieces() -> None:
    frame = rpc.request(7, "m", {"a": "x" * 15_000_000})
    (message,) = received(frame, step=65536)
    assert isinstance(message, rpc.Request) and len(message.params["a"]) == 15_000_000


def test_connections_that_are_cut_in_the_middle_do_not_mix() -> None:
    """They share what decodes them, but only between messages."""
    wires = [rpc.Connection() for _ in range(20)]
    frames = [rpc.request(n, f"m{n}", {"a": n}) for n in range(20)]
    for cut in range(1, 8):
        for wire, frame in zip(wires, frames, strict=True):
            assert list(wire.receive(frame[:cut])) == [] and wire.incomplete
        for n, (wire, frame) in enumerate(zip(wires, frames, strict=True)):
            assert list(wire.receive(frame[cut:])) == [rpc.Request(n, f"m{n}", {"a": n})] and not wire.incomplete
            wire.answered(n)


def test_a_frame_that_is_too_large_is_refused_before_it_is_there() -> None:
    """Nobody is made to hold what will be refused: the error comes once the limit is passed."""
    wire = rpc.Connection(rpc.Limits(frame=1000))
    head = rpc.request(9, "m", {"a": b"x" * 5000})[:1001]
    assert [m.msgid for m in wire.receive(head) if isinstance(m, rpc.Violation)] == [9]


def test_many_small_frames_in_one_piece_are_not_one_large_one() -> None:
    frame = rpc.notification("n", {"a": "x" * 100})
    assert len(received(frame * 1000, rpc.Limits(frame=200))) == 1000


NO_MESSAGES: list[tuple[Any, int | None]] = [
    (42, None),
    ("text", None),
    ([], None),
    ([3, 1, "m", [{}]], None),
    ([0, -1, "m", [{}]], None),
    ([0, 2**32, "m", [{}]], None),
    ([0, True, "m", [{}]], None),
    ([0, "7", "m", [{}]], None),
    ([0, 7, 9, [{}]], 7),
    ([0, 7, "m"], 7),
    ([0, 7, "m", [{}], 1], 7),
    ([1, 7, None], None),
    ([2, "m", {}], None),
    ([2, 7, [{}]], None),
]


@pytest.mark.parametrize(("value", "msgid"), NO_MESSAGES)
def test_what_is_no_message_ends_the_connection(value: Any, msgid: int | None) -> None:
    wire = rpc.Connection()
    (violation,) = wire.receive(rpc.pack(value))
    assert isinstance(violation, rpc.Violation) and violation.msgid == msgid
    assert wire.violated and "violated" in repr(wire)
    assert list(wire.receive(rpc.request(1, "m", {}))) == [], "no later byte is looked at"


@pytest.mark.parametrize("bad", [7, {}, [7], [{}, {}], [[]], [{b"k": 1}], None])
def test_params_that_are_not_one_map_are_answered_and_the_connection_goes_on(bad: Any) -> None:
    data = msgpack.packb([0, 3, "m", bad]) + rpc.request(3, "m", {})
    found = received(data)
    assert isinstance(found[0], rpc.Refused) and found[0].error.name == "invalid_params"
    assert found[1] == rpc.Request(3, "m", {})


@pytest.mark.parametrize("params", [[{}, {}], [1], [[]]])
@pytest.mark.parametrize("method", ["m", b"m"])
def test_a_notification_that_is_not_ours_is_passed_over(method: Any, params: Any) -> None:
    """Other clients greet in their own way: that cannot be answered, and is no reason to part."""
    found = received(msgpack.packb([2, method, params]) + rpc.request(1, "m", {}))
    assert isinstance(found[0], rpc.Unheard) and "not an array of one map" in found[0].error.message
    assert found[1] == rpc.Request(1, "m", {})


@pytest.mark.parametrize("head", [[rpc.REQUEST, 3], [rpc.NOTIFICATION]])
def test_a_refusal_says_the_beginning_of_a_long_method(head: list[Any]) -> None:
    (found,) = received(rpc.pack([*head, "x" * 100_000, [5]]))
    assert isinstance(found, rpc.Refused | rpc.Unheard)
    assert found.error.data == {"method": "x" * rpc.MOST_NAMED} and len(found.error.message) < 200


def test_a_key_that_is_no_text_is_a_violation() -> None:
    (violation,) = received(msgpack.packb([0, 3, "m", [{7: 1}]]))
    assert isinstance(violation, rpc.Violation) and violation.msgid == 3


def test_no_params_are_no_fields() -> None:
    assert received(rpc.pack([0, 1, "m", []])) == [rpc.Request(1, "m", {})]


@pytest.mark.parametrize("value", [msgpack.ExtType(5, b"x"), msgpack.Timestamp(1, 1)])
def test_extension_types_are_refused(value: Any) -> None:
    (violation,) = received(msgpack.packb([0, 4, "m", [{"a": [value]}]]))
    assert isinstance(violation, rpc.Violation) and violation.msgid == 4
    assert "extension type" in violation.error.message


def test_nesting_is_bounded() -> None:
    def nested(depth: int) -> Any:
        value: Any = 1
        for _ in range(depth):
            value = [value]
        return value

    limits = rpc.Limits(nesting=10)
    assert isinstance(received(rpc.request(1, "m", {"a": nested(6)}), limits)[0], rpc.Request)
    (violation,) = received(rpc.request(1, "m", {"a": nested(9)}), limits)
    assert isinstance(violation, rpc.Violation) and "nested deeper than 10" in violation.error.message
    assert isinstance(received(b"\x91" * 100_000)[-1], rpc.Violation), "deeper than the decoder's own stack"


def test_text_that_is_not_utf8_is_a_violation() -> None:
    (violation,) = received(b"\x94\x00\x03\xa1\xff\x91\x80")
    assert isinstance(violation, rpc.Violation) and violation.msgid == 3


def test_a_msgid_in_use_is_refused_until_it_is_answered() -> None:
    wire = rpc.Connection()
    frame = rpc.request(5, "m", {})
    first, again = [*wire.receive(frame + frame)]
    assert isinstance(first, rpc.Request) and isinstance(again, rpc.Refused)
    assert again.error.name == "duplicate_msgid" and again.error.data == {"msgid": 5}
    wire.answered(5)
    assert isinstance(next(wire.receive(frame)), rpc.Request)


def test_pending_requests_are_bounded() -> None:
    wire = rpc.Connection(rpc.Limits(pending=3))
    found = list(wire.receive(b"".join(rpc.request(n, "m", {}) for n in range(5))))
    assert [type(m) for m in found] == [rpc.Request] * 3 + [rpc.Refused] * 2
    assert isinstance(found[-1], rpc.Refused) and found[-1].error.name == "too_many_requests"
    assert "pending=3" in repr(wire)


def test_msgids_of_our_own_requests_wrap_and_are_never_0() -> None:
    wire = rpc.Connection()
    assert [wire.next_msgid(), wire.next_msgid()] == [1, 2]
    wire._last_msgid = rpc.MAX_MSGID  # pyright: ignore[reportPrivateUsage]
    assert wire.next_msgid() == 1


@given(msgids, values)
def test_packed_results_and_events_can_be_joined(msgid: int, value: Any) -> None:
    assert rpc.result_head(msgid) + rpc.pack(value) == rpc.response(msgid, value)
    assert rpc.notification_head("event") + rpc.pack({"a": value}) == rpc.notification("event", {"a": value})
    assert rpc.array_header(2) + rpc.pack(value) * 2 == rpc.pack([value, value])
    assert rpc.unpack(rpc.pack(value)) == value


def test_an_error_is_a_map_of_four() -> None:
    (answer,) = received(rpc.failure(3, NotFound("there is no such session; see `roost ls`", session="s-1")))
    assert isinstance(answer, rpc.Response)
    assert answer.error == {
        "code": 100,
        "name": "session_not_found",
        "message": "there is no such session; see `roost ls`",
        "data": {"session": "s-1"},
    }


@pytest.mark.parametrize("value", [object(), {1, 2}, 2**64, "\ud800"])
def test_what_cannot_be_carried_is_our_own_mistake(value: Any) -> None:
    with pytest.raises(LocalProtocolError, match="cannot be encoded"):
        rpc.pack({"a": value})


def test_messages_can_be_taken_apart_and_shown() -> None:
    message = rpc.Request(1, "m", {"a": 1})
    assert "method='m'" in repr(message) and message != rpc.Request(2, "m", {"a": 1})
    assert pickle.loads(pickle.dumps(message)) == message
