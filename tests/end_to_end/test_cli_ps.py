"""``roost ps``: what the daemon and its sessions use, as a table, as JSON, of some sessions only."""

import json
from pathlib import Path
from typing import Any

import pytest

from helpers.cli import Roost
from helpers.daemon import wait_until
from helpers.peer import peer


@pytest.fixture(scope="module")
def without_children(roost: Roost) -> str:
    """What it shows before there is a session."""
    return roost("ps").out


@pytest.fixture(scope="module", autouse=True)
def sessions(roost: Roost, without_children: str) -> None:
    for name in ("one", "two", "idle"):
        roost.daemon.create(name=name)
    for name in ("one", "two"):
        roost.daemon.call("session.start", session=name)
    roost.daemon.send("one", "sleep 600")


def test_the_daemon_stands_first_then_each_session_that_has_a_child(roost: Roost) -> None:
    one_id = roost.daemon.session("one")["id"]

    def processes() -> int:
        (used,) = [use for use in roost.daemon.call("daemon.stats")["processes"] if use["session"] == one_id]
        return int(used["processes"])

    wait_until(lambda: processes() > 1, "the sleep is counted")
    header, daemon, one, two = [line.split() for line in roost("ps").out.splitlines()]
    assert header == ["SESSION", "NAME", "PID", "PROCS", "THREADS", "CPU", "MEM", "FDS", "AGE"]
    assert daemon[:4] == ["-", "roostd", str(roost.daemon.pid), "1"]
    session = roost.daemon.session("one")
    assert one[:3] == [session["id"], "one", str(session["pid"])] and int(one[3]) >= 2
    assert two[1] == "two" and two[3] == "1" and "ms" in " ".join(two) and two[-3].endswith("M")


def test_some_only_and_those_without_a_child_are_said(roost: Roost) -> None:
    done = roost("ps", "two", "idle")
    assert [line.split()[1] for line in done.out.splitlines()] == ["NAME", "two"]
    assert "session idle has no child now" in done.err and done.status == 0
    missing = roost("ps", "two", "nobody")
    assert missing.status == 4 and "two" in missing.out and "nobody" in missing.err
    assert roost("ps", "idle").out == ""


def test_for_programs(roost: Roost) -> None:
    told = [json.loads(line) for line in roost("ps", "--json").out.splitlines()]
    assert [(one["name"], one["session"]) for one in told[:1]] == [(None, None)]
    assert [one["name"] for one in told[1:]] == ["one", "two"]
    assert {"pid", "pids", "processes", "threads", "cpu", "memory", "descriptors", "age"} < set(told[1])
    pids = [roost.daemon.pid, *(roost.daemon.session(name)["pid"] for name in ("one", "two"))]
    assert roost("ps", "-q").out.split() == [str(pid) for pid in pids]


def test_a_daemon_without_children_shows_itself(without_children: str) -> None:
    assert [line.split()[1] for line in without_children.splitlines()] == ["NAME", "roostd"]


def test_it_starts_no_daemon(roost: Roost) -> None:
    assert roost("ps", "--state", str(roost.daemon.workspace), ROOST_NO_START="").status == 7


def test_a_session_with_several_children_has_a_line_for_each(roost: Roost, tmp_path: Path) -> None:
    use: dict[str, Any] = {"pids": [], "processes": 1, "threads": 1, "cpu": 1, "memory": 1, "descriptors": 1, "age": 1}
    told = [{"session": session, "pid": pid, **use} for session, pid in ((None, 1), ("s-a", 7), ("s-b", 8), ("s-a", 9))]
    sessions: dict[str, Any] = {"sessions": [{"id": "s-a", "name": "a"}, {"id": "s-b", "name": "b"}], "next": None}
    with peer(
        tmp_path / "s",
        daemon_stats=lambda _: {"processes": told},
        session_list=lambda _: sessions,
        session_get=lambda _: {"session": sessions["sessions"][0]},
    ):
        assert roost("--socket", str(tmp_path / "s"), "ps", "-q").out.split() == ["1", "7", "9", "8"]
        some = roost("--socket", str(tmp_path / "s"), "ps", "a").out.splitlines()
    assert [line.split()[:3] for line in some[1:]] == [["s-a", "a", "7"], ["s-a", "a", "9"]]
