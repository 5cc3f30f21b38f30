"""What a worker says, as deep and as large as it may, can be read by every verb and feed, and given back to it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import roost.client
from helpers.daemon import DEADLINE, Daemon, wait_until
from helpers.engines import ODD, engines
from roost.client.connection import Connection
from roost.protocol.errors import InternalError
from roost.protocol.worker import MOST_DATA, MOST_FAILURE, NESTING

DEEP = Path(__file__).parents[1] / "helpers" / "workers" / "deep.py"


@pytest.fixture(scope="module")
def settings() -> str:
    refuses = json.dumps([sys.executable, str(ODD), "refuses", "internal_error", str(NESTING - 3)])
    config = f"[engines.deep]\ncommand = {json.dumps([sys.executable, str(DEEP)])}\n"
    return engines(f"{config}[engines.refuses]\ncommand = {refuses}")


@pytest.fixture
def daemon(shared: Daemon) -> Daemon:
    return shared


def depth(value: Any) -> int:
    return 1 + depth(value["x"]) if value else 0


async def test_the_deepest_data_comes_back_by_every_way(daemon: Daemon) -> None:
    session = daemon.create("deep")
    item = daemon.run(session, f"item {NESTING - 4}")["id"]
    failed = daemon.run(session, f"failure {NESTING - 3}")
    assert depth(failed["problem"]["data"]["value"]) == NESTING - 3
    [shown] = daemon.call("turn.get", turn=item)["items"]
    assert depth(shown["data"]["more"]) == NESTING - 4
    turns = daemon.call("turn.list", session=session)["turns"]
    assert depth(turns[1]["problem"]["data"]["value"]) == NESTING - 3
    async with roost.client.connect(str(daemon.socket)) as client:
        assert [event async for event in client.events(session, after=0, follow=False)] == daemon.events(session)


def test_a_refusal_with_the_deepest_data_keeps_nobody_from_the_list(daemon: Daemon) -> None:
    with pytest.raises(InternalError, match="this worker refuses"):
        daemon.call("session.start", session=daemon.create("refuses"))
    [session] = daemon.call("session.list")["sessions"]
    assert depth(session["failure"]["data"]["x"]) == NESTING - 3


def test_the_deepest_state_is_read_and_restored(daemon: Daemon) -> None:
    session = daemon.create("deep")
    assert daemon.run(session, f"state {NESTING - 2}")["state"] == "completed"
    state = daemon.call("session.state", session=session)["state"]
    assert depth(state) == NESTING - 2
    daemon.call("session.stop", session=session)
    assert daemon.call("session.start", session=session)["session"]["state"] == "ready"
    restored = daemon.call("session.state", session=session)
    assert (restored["state"], restored["source"]) == (state, "live")


def test_a_worker_that_nests_deeper_fails_its_own_turn_and_says_why(daemon: Daemon) -> None:
    session = daemon.create("odd")
    problem = daemon.run(session, f"deep {NESTING - 2}")["problem"]
    assert problem["name"] == "worker_violation" and f"nested deeper than {NESTING}" in problem["message"]
    assert daemon.run(session, f"deep {NESTING - 3}")["state"] == "completed"
    assert [s["id"] for s in daemon.call("session.list")["sessions"]] == [session]


def test_a_turn_with_the_most_of_everything_is_told_by_every_verb(daemon: Daemon) -> None:
    session = daemon.create("odd", name="n" * 64)
    prompt = "most ".ljust(1_000_000, "x")
    with Connection(str(daemon.socket), name="\N{GRINNING FACE}" * 64, timeout=DEADLINE) as client:
        sent = client.call("turn.send", {"session": session, "input": prompt}, DEADLINE)["turn"]["id"]
    turn = daemon.wait(sent)
    assert turn["input"] == prompt and turn["problem"]["message"].endswith("…")
    assert len(turn["problem"]["data"]["most"]) == MOST_FAILURE - 10
    told = daemon.call("turn.get", turn=sent)
    assert told["turn"] == turn and told["next"] is None
    [item] = told["items"]
    assert len(item["title"]) == 4096 and item["data"] == {"truncated": True}
    assert daemon.call("turn.list", session=session)["turns"] == [turn]
    [ended] = [event["data"]["item"] for event in daemon.events(session) if event["kind"] == "item.completed"]
    assert [len(ended["data"][name]) for name in ("start", "end")] == [MOST_DATA - 20] * 2
    wait_until(lambda: daemon.session(session)["last_turn"] == sent, "its session says so")
