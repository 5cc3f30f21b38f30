"""Restart intensity with a real daemon: real starts are counted by what each child leaves behind, its pid in a file."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.cli import Roost
from helpers.daemon import Daemon, wait_until
from helpers.engines import ODD

INTENSITY = 5
CHILD = f"""
echo $$ >>starts-$ROOST_SESSION
[ -e well ] && exec {sys.executable} {ODD} well
echo no luck today >&2
exit 7
"""
"""What dies at each start until there is a file ``well`` in its workspace."""
GO_ON = {"failed": "continue"}


def dying_engine(sessions: str = "") -> str:
    return f"[engines.dying]\ncommand = {json.dumps(['sh', '-c', CHILD])}\n[sessions]\n{sessions}\n"


@pytest.fixture(scope="module")
def settings() -> str:
    return dying_engine()


@pytest.fixture
def rearming(shared: Daemon) -> Iterator[Daemon]:
    """It tries again what has failed, soon."""
    file = Path(shared.environ["ROOST_CONFIG"])
    file.write_text(dying_engine("restart_intensity = 2\nrearm = '100ms'\nidle_sweep = '50ms'"))
    shared.call("daemon.reload")
    yield shared
    file.write_text(dying_engine())
    shared.call("daemon.reload")


def starts(daemon: Daemon, session: str) -> list[str]:
    """The pids of all children that the session has ever had."""
    file = daemon.workspace / f"starts-{session}"
    return file.read_text().split() if file.exists() else []


def wait_failed(daemon: Daemon, session: str) -> None:
    wait_until(lambda: daemon.session(session)["state"] == "failed", f"session {session} is failed")


def dying(daemon: Daemon, prompts: int) -> str:
    """A session that wants as many starts as it has prompts."""
    session = daemon.create("dying", after=GO_ON)
    with daemon.connect() as client:
        for sent in [client.send("turn.send", {"session": session, "input": f"try {n}"}) for n in range(prompts)]:
            client.result(sent)
    return session


def test_a_child_that_exits_at_once_is_started_so_often_and_then_failed_in_the_open(shared: Daemon) -> None:
    """The last exit and what it said are there for whoever looks, also after the daemon was killed."""
    session = dying(shared, 2 * INTENSITY)
    wait_failed(shared, session)
    assert len(set(starts(shared, session))) == len(starts(shared, session)) == INTENSITY
    [gave_up] = [event for event in shared.events(session) if event["data"].get("new") == "failed"]
    assert gave_up["data"]["reason"] == "restart_limit"
    wait_until(lambda: shared.session(session)["queued"] == INTENSITY, "the turn that wanted the last start fails, too")
    shared.kill()
    shared.start()
    record = shared.session(session)
    assert (record["state"], record["queued"]) == ("failed", INTENSITY)
    for failure in (record["failure"], gave_up["data"]["problem"]):
        assert failure["name"] == "worker_exited" and failure["data"]["exit_code"] == 7
        assert failure["data"]["stderr"] == "no luck today\n"
        assert failure["data"]["pid"] == int(starts(shared, session)[-1])
    roost = Roost(shared)
    assert "failed" in roost("ls").out and "exited with status 7: no luck today" in roost("show", session).out
    other = shared.create()
    assert shared.run(other, "true")["state"] == "completed"
    assert len(starts(shared, session)) == INTENSITY, (
        "neither a new start of roostd nor a look at the queue tries again"
    )


def test_by_hand_it_is_tried_again_and_counted_anew(shared: Daemon) -> None:
    session = dying(shared, 3 * INTENSITY)
    wait_failed(shared, session)
    tried = Roost(shared)("start", session)
    assert tried.status != 0 and "exited with status 7" in tried.err
    wait_until(lambda: len(starts(shared, session)) == 2 * INTENSITY, "its queue was tried again")
    wait_failed(shared, session)
    assert len(starts(shared, session)) == 2 * INTENSITY
    (shared.workspace / "well").touch()
    assert Roost(shared)("start", session).status == 0
    wait_until(lambda: shared.session(session)["queued"] == 0 and not shared.session(session)["turn"], "all have run")
    assert len(starts(shared, session)) == 2 * INTENSITY + 1
    assert shared.session(session)["last_turn_state"] == "completed"


def test_after_a_time_it_is_tried_again_by_itself(rearming: Daemon) -> None:
    session = dying(rearming, 100)
    wait_until(lambda: len(starts(rearming, session)) >= 6, "two are in a period, so that it was re-armed twice")
    (rearming.workspace / "well").touch()
    wait_until(lambda: rearming.session(session)["last_turn_state"] == "completed", "it is well again")
    gave_up = [event for event in rearming.events(session) if event["data"].get("new") == "failed"]
    rearmed = [event for event in rearming.events(session) if event["data"].get("reason") == "rearmed"]
    assert len(gave_up) == len(rearmed) >= 2


def test_a_child_that_dies_in_its_turns_counts_as_well(shared: Daemon) -> None:
    """And each turn says how: its exit status and the last lines of stderr."""
    (shared.workspace / "well").touch()
    session = shared.create("dying", after=GO_ON)
    turns = [shared.send(session, f"die {n + 1}") for n in range(2 * INTENSITY)]
    wait_failed(shared, session)
    assert len(starts(shared, session)) == INTENSITY
    for n, turn in enumerate(turns[:INTENSITY]):
        ended = shared.wait(turn)
        assert (ended["state"], ended["reason"]) == ("failed", "worker_exited")
        assert ended["problem"]["data"]["exit_code"] == n + 1
        assert ended["problem"]["data"]["stderr"] == "odd: last words\n"
    assert shared.session(session)["failure"]["data"]["exit_code"] == INTENSITY
    assert shared.session(session)["queued"] == INTENSITY


def test_a_crash_loop_is_nothing_to_the_others(shared: Daemon) -> None:
    """Many die, and one that does not has its turns run one after another, with the one child it began with."""
    healthy = shared.create()
    shared.run(healthy, "true")
    child = shared.session(healthy)["pid"]
    loops = [dying(shared, 2 * INTENSITY) for _ in range(20)]
    for number in range(20):
        turn = shared.run(healthy, f"echo {number}")
        assert (turn["state"], shared.output(turn["id"])) == ("completed", f"{number}\n")
        overlapped = number or any(shared.session(session)["state"] != "failed" for session in loops)
        assert overlapped, "they die meanwhile"
    for session in loops:
        wait_failed(shared, session)
    assert [len(starts(shared, session)) for session in loops] == [INTENSITY] * len(loops)
    assert shared.session(healthy)["pid"] == child
    assert shared.run(healthy, "echo still")["state"] == "completed"
