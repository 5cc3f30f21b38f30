"""What the author of a worker says, and what he does wrong, is told as it is, and costs neither child nor state."""

import json
import sys
from pathlib import Path

import pytest

from helpers.daemon import Daemon
from roost.protocol.errors import InternalError

WORKERS = Path(__file__).parents[1] / "helpers" / "workers"


def engine(name: str) -> str:
    return f"[engines.{name}]\nkind = 'worker'\ncommand = {json.dumps([sys.executable, str(WORKERS / f'{name}.py')])}\n"


@pytest.fixture(scope="module")
def settings() -> str:
    return engine("refusing") + engine("slipping")


@pytest.fixture
def daemon(shared: Daemon) -> Daemon:
    return shared


def test_a_refusal_is_told_in_its_author_s_words(daemon: Daemon) -> None:
    session = daemon.create("refusing")
    daemon.run(session, "go")
    pid = daemon.session(session)["pid"]
    (daemon.workspace / "no").touch()
    for method in ("session.state", "session.clear"):
        with pytest.raises(InternalError, match="not now") as told:
            daemon.call(method, session=session)
        assert told.value.data == {"field": "turns"}
    (daemon.workspace / "no").unlink()
    assert daemon.output(daemon.run(session, "go")["id"]) == "2" and daemon.session(session)["pid"] == pid


def test_a_state_that_is_refused_stays_as_it_is(daemon: Daemon) -> None:
    session = daemon.create("refusing")
    daemon.run(session, "go")
    daemon.call("session.stop", session=session)
    (daemon.workspace / "no").touch()
    with pytest.raises(InternalError, match="not now"):
        daemon.call("session.start", session=session)
    failure = daemon.session(session)["failure"]
    assert failure == {"name": "internal_error", "message": "not now", "data": {"field": "turns"}}
    (daemon.workspace / "no").unlink()
    assert daemon.output(daemon.run(session, "go")["id"]) == "2"


@pytest.mark.parametrize(
    ("slip", "told"),
    [
        ("begins", "LocalProtocolError: item.start: this is not MessagePack-RPC: int is not allowed for map key"),
        ("ends", "LocalProtocolError: item.end: this is not MessagePack-RPC: int is not allowed for map key"),
        ("costs", "ValueError: usage is counted from 0 to 2**53"),
        ("counts", "ValueError: usage is counted from 0 to 2**53"),
        ("exits", "ValueError: exit_code is '1', which is not one of a process"),
        ("opens", "RuntimeError: 1000 items are open; end some before the next one"),
        ("fails", "no luck; its data is left out: this is not MessagePack-RPC"),
    ],
)
def test_a_slip_fails_its_turn_and_nothing_else(daemon: Daemon, slip: str, told: str) -> None:
    session = daemon.create("slipping", after={"failed": "continue"})
    pid = daemon.call("session.start", session=session)["session"]["pid"]
    turn = daemon.run(session, slip)
    assert turn["problem"]["name"] == "turn_failed" and turn["problem"]["message"].startswith(told)
    assert daemon.output(daemon.run(session, "go")["id"]) == "2" and daemon.session(session)["pid"] == pid
