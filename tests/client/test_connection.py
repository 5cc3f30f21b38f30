"""The blocking connection, against a peer on a real socket."""

import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from helpers.peer import HELLO, LIMITS, peer
from roost.client import frames
from roost.client.connection import Connection
from roost.protocol import rpc, service
from roost.protocol.errors import (
    ConnectionLost,
    DaemonUnreachable,
    FrameTooLarge,
    InvalidParams,
    ProtocolMismatch,
    ProtocolViolation,
    SessionNotFound,
    TimedOut,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


def test_this_side_speaks_the_protocol_of_the_methods() -> None:
    assert frames.PROTOCOL == service.PROTOCOL


def test_it_greets_and_asks(path: Path) -> None:
    with peer(path, session_get=lambda params: {"got": params}) as daemon:
        with Connection(str(path), name="me") as connection:
            assert connection.call("session.get", {"session": "a"}) == {"got": {"session": "a"}}
        assert daemon.heard[0][1]["client"]["name"] == "me"


def test_the_daemons_error_is_raised_as_the_class_of_its_name(path: Path) -> None:
    def refuse(params: object) -> None:
        raise SessionNotFound("there is none", session="a")

    with peer(path, session_get=refuse), Connection(str(path)) as connection:
        with pytest.raises(SessionNotFound) as caught:
            connection.call("session.get", {"session": "a"})
        assert caught.value.data == {"session": "a"}


def test_answers_may_come_in_another_order(path: Path) -> None:
    with peer(path, a=lambda _: {"is": "a"}, b=lambda _: {"is": "b"}), Connection(str(path)) as connection:
        first, second = connection.send("a", {}), connection.send("b", {})
        assert connection.result(second) == {"is": "b"}
        assert connection.result(first) == {"is": "a"}


def test_events_that_come_before_an_answer_are_kept_in_order(path: Path) -> None:
    with peer(path) as daemon, Connection(str(path)) as connection:
        msgid = connection.send("slow", {})
        daemon.wait_heard("slow")
        daemon.say(b"".join(rpc.notification("event", {"seq": seq}) for seq in (1, 2)) + rpc.response(99, {}))
        with pytest.raises(Exception, match="no such method"):
            connection.result(msgid)
        while (first := connection.take()) is None:
            connection.receive(10)
        assert first.params == {"seq": 1}
        second = connection.take()
        assert second is not None and second.params == {"seq": 2}
        assert connection.take() is None


def test_an_answer_that_does_not_come_is_withdrawn(path: Path) -> None:
    with peer(path, slow=lambda _: None) as daemon, Connection(str(path)) as connection:
        with pytest.raises(TimedOut, match="did not answer slow within"):
            connection.call("slow", {}, timeout=0.05)
        assert daemon.wait_heard("rpc.cancel") == {"msgid": 2}


@pytest.mark.timeout(20)
def test_a_ctrl_c_that_does_not_end_the_wait_in_the_kernel_is_noticed(path: Path) -> None:
    """As when it comes right before the wait: another thread takes the signal, so that ours is not woken."""
    with peer(path, slow=lambda _: None) as daemon, Connection(str(path)) as connection:

        def interrupt() -> None:
            daemon.wait_heard("slow")
            asleep = 0
            while asleep < 100:  # one who only waited for the interpreter's lock would have it by then
                asleep = asleep + 1 if " S " in Path(f"/proc/self/task/{os.getpid()}/stat").read_text() else 0
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)

        other = threading.Thread(target=interrupt)
        other.start()
        with pytest.raises(KeyboardInterrupt):
            connection.call("slow", {}, None)
        other.join()


def test_what_is_over_the_daemons_limits_is_not_sent(path: Path) -> None:
    with peer(path) as daemon, Connection(str(path)) as connection:
        with pytest.raises(InvalidParams, match="the prompt has 20000000 bytes and the daemon takes 1000"):
            connection.call("turn.send", {"session": "a", "input": "x" * 20_000_000})
        with pytest.raises(InvalidParams, match="1002 bytes"):
            connection.call("turn.send", {"session": "a", "input": "ü" * 501})
        with pytest.raises(FrameTooLarge, match="65536"):
            connection.call("session.create", {"env": {"A": "x" * LIMITS["frame"]}})
        assert [method for method, _ in daemon.heard] == ["hello"]


def test_a_prompt_at_the_limit_is_sent(path: Path) -> None:
    with peer(path, turn_send=lambda params: {"n": len(params["input"])}), Connection(str(path)) as connection:
        assert connection.call("turn.send", {"input": "ü" * 500}) == {"n": 500}


def test_text_that_is_not_utf8_is_refused_here(path: Path) -> None:
    with peer(path), Connection(str(path)) as connection, pytest.raises(InvalidParams, match=r"input .* UTF-8"):
        connection.call("turn.send", {"input": b"\xff".decode("utf-8", "surrogateescape")})


def test_the_variable_that_cannot_be_sent_is_named(path: Path) -> None:
    with peer(path), Connection(str(path)) as connection:
        with pytest.raises(InvalidParams, match=r"session.create: env\.PATH cannot be encoded"):
            connection.call("session.create", {"name": "a", "env": {"HOME": "/", "PATH": "/\udcff"}})
        with pytest.raises(InvalidParams, match=r"session.create: env\.\udcff cannot be encoded"):
            connection.call("session.create", {"env": {"\udcff": {"a": "x"}}})


def test_a_number_that_does_not_fit_is_refused_here(path: Path) -> None:
    with peer(path), Connection(str(path)) as connection, pytest.raises(InvalidParams, match="numbers below"):
        connection.call("events.read", {"after": 2**64})


def test_params_are_checked_and_not_sent(path: Path) -> None:
    with peer(path) as daemon, Connection(str(path)) as connection:
        connection.check("turn.send", {"input": "x"})
        with pytest.raises(InvalidParams, match="the prompt has 20000 bytes"):
            connection.check("turn.send", {"input": "x" * 20_000})
        assert [method for method, _ in daemon.heard] == ["hello"]


def test_a_daemon_that_leaves_is_named(path: Path) -> None:
    with peer(path, slow=lambda _: None) as daemon, Connection(str(path)) as connection:
        msgid = connection.send("slow", {})
        daemon.wait_heard("slow")
        daemon.hang_up()
        with pytest.raises(ConnectionLost, match=str(path)):
            connection.result(msgid)


def test_bytes_that_are_not_the_protocol_end_the_connection(path: Path) -> None:
    with peer(path) as daemon, Connection(str(path)) as connection:
        daemon.say(b"\xc1")
        with pytest.raises(ProtocolViolation):
            connection.receive(10)


def test_nobody_listens(path: Path) -> None:
    with pytest.raises(DaemonUnreachable, match="roost daemon start") as caught:
        Connection(str(path))
    assert caught.value.data["path"] == str(path)


def test_somebody_listens_who_does_not_answer(path: Path) -> None:
    with peer(path, hello=lambda _: None), pytest.raises(DaemonUnreachable, match="does not answer") as caught:
        Connection(str(path), timeout=0.05)
    assert "errno" not in caught.value.data, "another daemon must not be started beside it"


def test_one_that_ends_before_it_greets_is_nobody(path: Path) -> None:
    with peer(path) as daemon:
        daemon.answers["hello"] = lambda _: daemon.hang_up()
        with pytest.raises(DaemonUnreachable, match="just ended") as caught:
            Connection(str(path))
    assert frames.nobody(caught.value), "one may be started in its place"


def test_a_socket_that_may_not_be_used_is_somebodys(path: Path) -> None:
    path.parent.joinpath("loop").symlink_to("loop")
    with pytest.raises(DaemonUnreachable, match="see whose it is") as caught:
        Connection(str(path.parent / "loop" / "s"))
    assert not frames.nobody(caught.value)


def test_a_full_queue_of_connections_does_not_wait_for_ever(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(str(path))
        listener.listen(0)
        waiting.connect(str(path))
        with pytest.raises(DaemonUnreachable, match="does not answer"):
            Connection(str(path), timeout=0.05)


@pytest.mark.parametrize("protocol", [2, None])
def test_another_protocol_says_restart(path: Path, protocol: int | None) -> None:
    with (
        peer(path, hello=lambda _: {**HELLO, "protocol": protocol}),
        pytest.raises(ProtocolMismatch, match="roost daemon restart"),
    ):
        Connection(str(path))


def test_a_daemon_that_refuses_the_protocol_says_restart(path: Path) -> None:
    def refuse(params: object) -> None:
        raise ProtocolMismatch("I speak 2")

    with peer(path, hello=refuse), pytest.raises(ProtocolMismatch, match="I speak 2; run `roost daemon restart`"):
        Connection(str(path))
