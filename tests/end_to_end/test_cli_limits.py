"""Limits by the command line: given to a new session, changed, taken away, shown, and those that hold."""

import json

from helpers.cli import Roost


def test_a_new_session_has_those_that_it_is_given(roost: Roost) -> None:
    done = roost("new", "--name", "first", "--memory-max", "2GiB", "--pids-max", "50", "--cpu-max", "1.5")
    assert done.status == 0, done.err
    session = json.loads(roost("show", "first", "--json").out)
    assert session["limits"] == {"memory_max": 2**31, "pids_max": 50, "cpu_max": 1.5, "nofile": None}
    assert "limits      memory-max 2GiB, pids-max 50, cpu-max 1.5\n" in roost("show", "first").out


def test_they_are_changed_one_by_one_and_taken_away(roost: Roost) -> None:
    second = roost.daemon.create(name="second", limits={"pids_max": 50})
    assert roost("limit", "second").out == "limits  pids-max 50\n"
    assert roost("limit", "second", "--nofile", "100", "--memory-max", "1G").status == 0
    assert roost("limit", "second").out == "limits  memory-max 1GiB, pids-max 50, nofile 100\n"
    changed = roost("limit", "second", "--memory-max", "none", "--pids-max", "none", "--json")
    assert json.loads(changed.out)["limits"] == {"memory_max": None, "pids_max": None, "cpu_max": None, "nofile": 100}
    assert roost("limit", "second", "--nofile", "none").out == "limits  none of its own\n"
    updates = [event for event in roost.daemon.events(second) if event["kind"] == "session.updated"]
    assert [event["data"]["changed"]["limits"]["nofile"] for event in updates] == [100, 100, None]


def test_what_cannot_be_right_is_refused_before_anything_is_made(roost: Roost) -> None:
    def sessions() -> list[str]:
        return [session["id"] for session in roost.daemon.call("session.list")["sessions"]]

    there = roost.daemon.create()
    before = sessions()
    done = roost("run", "--memory-max", "2GB", "true")
    assert done.status == 2
    assert "argument --memory-max: '2GB' is no size: write 512MiB, 2GiB or 1G" in done.err
    assert roost("run", "-s", there, "--pids-max", "5", "true").status == 2
    assert sessions() == before
    assert roost("limit", "nobody").status == 4
    refused = roost("call", "session.create", '{"workspace": "/", "limits": {"memory_max": 0}}')
    assert refused.status == 2 and "limits.memory_max" in refused.err


def test_who_changes_the_limits_of_a_live_session_is_told_when_they_hold(roost: Roost) -> None:
    roost.daemon.run(roost.daemon.create(name="live"), "true")
    assert "roost stop" in roost("limit", "live", "--nofile", "90").err


def test_descriptors_are_limited_by_engine_and_by_session(roost: Roost) -> None:
    assert roost("run", "-e", "narrow", "x").out == "60\n"
    assert roost("run", "-e", "narrow", "--nofile", "40", "x").out == "40\n"
    assert roost("run", "--nofile", "70", "ulimit -Sn; ulimit -Hn").out == "70\n70\n"
