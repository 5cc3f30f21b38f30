"""Each change names its author: a client by its credentials, its name and the session it stands in, or the daemon."""

import os
import shlex
import sys
from typing import Any

import pytest

from helpers.daemon import Daemon


@pytest.fixture
def daemon(shared: Daemon) -> Daemon:
    return shared


def test_every_change_that_a_client_makes_is_told_with_its_credentials(daemon: Daemon) -> None:
    session = daemon.create(name="mine", after={"cancelled": "hold"})

    def author(kind: str, after: int) -> Any:
        """That of the first event of this kind."""
        data = next(event for event in daemon.events(session, after) if event["kind"] == kind)["data"]
        return data["turn"]["author"] if "turn" in data else data["author"]

    def told(kind: str, method: str, **params: Any) -> dict[str, Any]:
        """The verb is done, and what it is told by names this process."""
        before = daemon.session(session)["seq"]
        answer = daemon.call(method, **params)
        found = author(kind, before)
        assert (found["kind"], found["pid"], found["uid"]) == ("client", os.getpid(), os.getuid()), kind
        assert (found["client"], found["session"]) == ("test", None)
        return answer

    assert author("session.created", 0)["pid"] == os.getpid()
    told("session.updated", "session.update", session=session, name="ours")
    told("session.state_changed", "session.start", session=session)
    turn = told("turn.queued", "turn.send", session=session, input="sleep 600")["turn"]["id"]
    first, second, third = (daemon.send(session, text) for text in "abc")
    told("turn.edited", "turn.edit", turn=first, input="true")
    told("turn.moved", "turn.move", turn=second, before=first)
    told("turn.cancelled", "turn.remove", turn=third)
    told("turn.cancel_requested", "turn.cancel", turn=turn)
    assert daemon.wait(turn)["cancelled_by"]["pid"] == os.getpid()
    told("turn.cancelled", "turn.cancel", turn=second)
    told("session.released", "session.release", session=session)
    daemon.wait(first)
    told("checkpoint.saved", "session.checkpoint", session=session, name="here")
    told("session.cleared", "session.clear", session=session)
    told("session.state_changed", "session.stop", session=session)
    told("session.archived", "session.archive", session=session)
    told("session.unarchived", "session.unarchive", session=session)
    daemon.call("session.delete", session=session)
    [*_, deleted] = [event for event in daemon.events() if event["kind"] == "session.deleted"]
    assert deleted["data"]["author"]["pid"] == os.getpid()


def test_a_command_that_an_agent_runs_is_told_with_the_session_it_stands_in(daemon: Daemon) -> None:
    session, other = daemon.create(), daemon.create()
    roost = shlex.join([sys.executable, "-m", "roost.client", "--socket", str(daemon.socket), "send", other])
    daemon.run(session, f"{roost} 'echo from an agent'")
    [turn] = daemon.call("turn.list", session=other)["turns"]
    assert turn["author"]["kind"] == "client" and turn["author"]["session"] == session
    assert turn["author"]["pid"] != os.getpid()
    (queued,) = [event for event in daemon.events(other) if event["kind"] == "turn.queued"]
    assert queued["data"]["turn"]["author"] == turn["author"]


def test_what_follows_a_turn_that_did_not_complete_is_done_by_its_session(daemon: Daemon) -> None:
    session = daemon.create(after={"failed": "hold"})
    daemon.call("session.stop", session=session)
    failed, _ = daemon.send(session, "sleep 1; false"), daemon.send(session, "true")
    daemon.wait(failed)
    (held,) = [event for event in daemon.events(session) if event["kind"] == "session.held"]
    assert held["data"]["author"] == {"kind": "session", "session": session}


def test_a_deadline_is_the_author_of_the_cancel_that_it_asks_for(daemon: Daemon) -> None:
    session = daemon.create()
    turn = daemon.run(session, "sleep 600", timeout=100)
    assert turn["cancelled_by"] == {"kind": "deadline", "limit": "timeout"}
