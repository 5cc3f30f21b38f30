"""A daemon that makes a cgroup for each session: nothing escapes its end, and what it cannot enforce is said."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.cgroups import scratch
from helpers.children import alive
from helpers.daemon import Daemon, running

# It leaves its session, group, parent and environment behind: only a cgroup still knows whose it is.
ESCAPES = """
(setsid env -i /bin/sh -c 'echo $$ > escaped; exec sleep 600' >/dev/null 2>&1 </dev/null &)
until [ -s escaped ]; do sleep 0.01; done
"""


SH = '[engines.sh]\nkind = "command"\ncommand = ["sh", "-c"]\n'


@pytest.fixture(scope="module")
def cgroup() -> Iterator[Path]:
    with scratch() as folder:
        yield folder


@pytest.fixture(scope="module")
def settings(cgroup: Path) -> str:
    return f'[daemon]\ncgroup = "{cgroup}"\n[engines.lost]\ncommand = ["no-such-program"]\n{SH}'


@pytest.fixture
def daemon(shared: Daemon) -> Daemon:
    """Whoever ends it starts it again."""
    return shared


def escaped(daemon: Daemon, session: str) -> int:
    """The pid of a process that has escaped from the session in every way but one."""
    file = daemon.workspace / "escaped"
    file.unlink(missing_ok=True)
    assert daemon.run(session, ESCAPES)["state"] == "completed"
    return int(file.read_text())


def test_a_session_ends_with_what_escaped_from_it(daemon: Daemon, cgroup: Path) -> None:
    session, other = daemon.create(), daemon.create()
    pid, spared = escaped(daemon, session), escaped(daemon, other)
    assert f"/{cgroup.name}/{session}/c-" in Path(f"/proc/{pid}/cgroup").read_text()
    daemon.call("session.stop", session=session)
    assert not alive(pid) and alive(spared)
    assert [path.name for path in cgroup.iterdir() if path.is_dir()] == [other]
    assert daemon.stop() == 0
    assert not alive(spared)
    assert [path.name for path in cgroup.iterdir() if path.is_dir()] == []
    daemon.start()


def test_a_killed_daemons_escaped_are_ended_by_the_next_one(daemon: Daemon, cgroup: Path) -> None:
    session = daemon.create()
    pid = escaped(daemon, session)
    stranger = cgroup / "s-aaaaaaaaaaaaaaaa"  # of another daemon in the same place
    stranger.mkdir()
    daemon.kill()
    assert alive(pid)
    daemon.start()
    assert not alive(pid)
    assert [path.name for path in cgroup.iterdir() if path.is_dir()] == [stranger.name]
    started = [event["data"] for event in daemon.events() if event["kind"] == "daemon.started"]
    assert pid in started[-1]["ended"]
    stranger.rmdir()


def test_a_turn_by_a_program_has_a_cgroup_of_its_own(daemon: Daemon, cgroup: Path) -> None:
    session = daemon.create("sh")
    for _ in range(2):
        pid = escaped(daemon, session)
        assert not alive(pid)
    assert not (cgroup / session).exists()


def test_what_is_started_is_what_was_asked_for(daemon: Daemon) -> None:
    odd = {"PATH": os.environ["PATH"], "A.B": "odd", "IFS": "x"}
    session = daemon.create(env=odd)
    told = daemon.run(session, r"tr '\0' '\n' </proc/$PPID/environ | grep -e ^A.B -e ^IFS")
    assert sorted(daemon.output(told["id"]).split()) == ["A.B=odd", "IFS=x"]
    lost = daemon.run(daemon.create("lost"), "x")
    assert (lost["state"], lost["problem"]["name"]) == ("failed", "engine_failed")
    assert "no-such-program: No such file or directory" in lost["problem"]["message"]


def test_a_cgroup_that_is_gone_is_said_and_only_a_session_with_limits_needs_it(daemon: Daemon, cgroup: Path) -> None:
    most = cgroup / "cgroup.max.descendants"
    most.write_text("0")
    try:
        assert daemon.run(daemon.create(), "true")["state"] == "completed"
        limited = daemon.run(daemon.create(limits={"cpu_max": 1.5}), "true")
    finally:
        most.write_text("max")
    assert limited["problem"]["name"] == "limit_unenforceable"
    assert str(cgroup) in limited["problem"]["message"]


def test_limits_that_cannot_be_enforced_are_said_once_a_start_or_refused_where_the_settings_say_so() -> None:
    config = f'[daemon]\ncgroup = "off"\n[engines.shell]\ncpu_max = 2\n{SH}'
    with running(config=config) as daemon:
        session = daemon.create(limits={"memory_max": 2**30, "nofile": 100})
        for _ in range(2):
            assert daemon.run(session, "true")["state"] == "completed"
        said = [event for event in daemon.events(session) if event["kind"] == "session.limits_unenforced"]
        assert [event["data"] for event in said] == [
            {"limits": ["memory_max", "cpu_max"], "reason": said[0]["data"]["reason"]}
        ]
        assert 'daemon.cgroup is "off"' in said[0]["data"]["reason"]
        daemon.call("session.stop", session=session)
        daemon.call("session.start", session=session)
        assert len([e for e in daemon.events(session) if e["kind"] == "session.limits_unenforced"]) == 2

        refusing = f'[daemon]\ncgroup = "off"\n[limits]\nunenforceable = "refuse"\n{SH}'
        Path(daemon.environ["ROOST_CONFIG"]).write_text(refusing)
        assert "limits.unenforceable" in daemon.call("daemon.reload")["changed"]
        for engine in ("shell", "sh"):
            session = daemon.create(engine, limits={"memory_max": 2**30})
            turn = daemon.run(session, "true")
            assert (turn["state"], turn["problem"]["name"]) == ("failed", "limit_unenforceable")
            assert turn["problem"]["data"] == {"session": session, "limits": ["memory_max"]}
            daemon.call("session.release", session=session)
            none = {name: None for name in ("memory_max", "pids_max", "cpu_max")}
            daemon.call("session.update", session=session, limits={**none, "nofile": 100})
            assert daemon.run(session, "true")["state"] == "completed"


def test_the_daemon_tells_what_it_can_enforce(daemon: Daemon, cgroup: Path) -> None:
    checks = {check["name"]: check for check in daemon.call("daemon.status")["checks"]}
    assert list(checks) == ["cgroup", "memory_max", "pids_max", "cpu_max", "nofile", "beyond_reach", "descriptors"]
    assert checks["cgroup"]["ok"] and checks["beyond_reach"]["ok"] and checks["nofile"]["ok"]
    assert str(cgroup) in checks["cgroup"]["message"]
