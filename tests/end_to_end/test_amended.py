"""An item is updated while it is open and amended after its end; how far a turn is stands on its row."""

import json
import sys
from pathlib import Path

import pytest

from helpers.cli import Roost
from helpers.daemon import Daemon

SCRIPT = Path(__file__).parents[1] / "helpers" / "workers" / "amending.py"


@pytest.fixture(scope="module")
def settings() -> str:
    return f"[engines.amending]\nkind = 'worker'\ncommand = {json.dumps([sys.executable, str(SCRIPT)])}\n"


@pytest.fixture
def daemon(shared: Daemon) -> Daemon:
    return shared


def test_what_a_worker_knows_later_stands_in_the_item_and_in_its_events(daemon: Daemon) -> None:
    session = daemon.create("amending")
    turn = daemon.run(session, "go")
    assert turn["state"] == "completed", turn["problem"]
    assert turn["progress"] == {"message": "halfway", "fraction": 0.5}
    (item,) = daemon.call("turn.get", turn=turn["id"])["items"]
    assert (item["title"], item["content"], item["state"]) == ("search for x, twice", "three hits", "completed")
    assert item["data"] == {"query": "x", "hits": 3, "again": True} and item["bytes"] == len("three hits")
    told = [event["data"] for event in daemon.events(session) if event["kind"] == "item.updated"]
    assert told == [
        {"item": item["id"], "title": "search for x", "data": {"hits": 2}},
        {
            "item": item["id"],
            "title": "search for x, twice",
            "text": "three hits",
            "data": {"hits": 3, "again": True},
        },
    ]
    command = Roost(daemon)
    assert "search for x, twice" in command("log", session).out
    assert "halfway (50%)" in command("show", turn["id"]).out
    assert bytes(daemon.call("item.read", item=item["id"])["data"]) == b"three hits"


def test_the_output_of_an_open_item_cannot_be_replaced(daemon: Daemon) -> None:
    turn = daemon.run(daemon.create("amending"), "too early")
    assert turn["state"] == "failed" and "is open; write its text" in turn["problem"]["message"]


def test_it_is_still_so_after_the_daemon_was_killed(daemon: Daemon) -> None:
    turn = daemon.run(daemon.create("amending"), "go")
    before = daemon.call("turn.get", turn=turn["id"])
    daemon.kill()
    daemon.start()
    assert daemon.call("turn.get", turn=turn["id"]) == before
