"""``roost log``: what happened, read, followed, cut short; and ``roost call`` for everything else."""

import json
import os
import subprocess
import sys

import pytest

from helpers.cli import Roost
from helpers.daemon import wait_until


@pytest.fixture(scope="module", autouse=True)
def told(roost: Roost) -> str:
    """A session with three turns behind it, called ``told``, to which no test adds one."""
    session = roost.daemon.create("sh", name="told")
    for prompt in ("echo one", "printf two", "exit 3"):
        roost.daemon.run(session, prompt)
    return session


@pytest.fixture(scope="module")
def live(roost: Roost) -> str:
    """A session for the turns that tests add."""
    return roost.daemon.create("sh")


def test_a_session_reads_as_a_conversation(roost: Roost) -> None:
    lines = roost("log", "told").out.splitlines()
    assert lines[:2] == ["> echo one", "one"] and lines[3:5] == ["> printf two", "two"] and lines[6] == "> exit 3"
    assert lines[7].endswith("[exit status 3]") and "failed" in lines[7]


def test_it_begins_where_it_is_told_to(roost: Roost) -> None:
    assert roost("log", "told", "-n", "1").out.splitlines()[0] == "> exit 3"
    assert roost("log", "told", "-n", "2").out.splitlines()[0] == "> printf two"
    assert roost("log", "told", "-n", "0").out == ""
    assert roost("log", "told", "-n", "9").out == roost("log", "told").out
    seq = roost.daemon.session("told")["seq"]
    last = roost("log", "told", "--after", str(seq - 1), "--events").out
    assert last.startswith(f"{seq} ") and last.count("\n") == 1
    beyond = roost("log", "told", "--after", str(seq + 1))
    assert beyond.status == 2 and str(seq) in beyond.err


def test_last_turns_are_all_there_when_they_fill_more_than_one_page(roost: Roost) -> None:
    made = roost.daemon.create("sh", name="long")
    for n in range(20):
        roost.daemon.send(made, f"echo {n} # {'x' * 60_000}")
    roost.daemon.call("session.wait", session=made)
    last = json.loads(roost("show", made, "-n", "20", "--json").out)["last_turns"]
    assert [turn["input"].split()[1] for turn in last] == [str(n) for n in reversed(range(20))]
    asked = [line for line in roost("log", "long", "-n", "19").out.splitlines() if line.startswith("> ")]
    assert [line.split()[:3] for line in asked] == [[">", "echo", str(n)] for n in range(1, 20)]


def test_one_turn_only(roost: Roost) -> None:
    turn = roost.daemon.call("turn.list", session="told")["turns"][1]["id"]
    lines = roost("log", "--turn", turn[:14]).out.splitlines()
    assert lines[:2] == ["> printf two", "two"] and len(lines) == 3


def test_events_as_lines_and_as_json_are_all_there(roost: Roost) -> None:
    events = [json.loads(line) for line in roost("log", "told", "--json").out.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events == roost.daemon.events("told")
    lines = roost("log", "told", "--events").out.splitlines()
    assert [line.split()[2] for line in lines] == [event["kind"] for event in events]


def test_without_a_session_it_is_every_event_of_the_daemon(roost: Roost) -> None:
    lines = roost("log").out.splitlines()
    assert lines[0].split()[:2] == ["1", "-"] and "daemon.started" in lines[0]
    assert len(lines) == len(roost.daemon.events())


def test_a_turn_of_another_session_is_not_found(roost: Roost) -> None:
    turn = roost.daemon.session("told")["last_turn"]
    other = roost.daemon.create("sh")
    for follow in ([], ["-f"]):
        done = roost("log", other, "--turn", turn, *follow)
        assert done.status == 4 and done.err.endswith("(turn_not_found)\n")


def test_of_all_sessions_too_it_begins_with_the_last_turns(roost: Roost, live: str) -> None:
    for session in (roost.daemon.create("sh"), live):
        roost.daemon.run(session, "true")
    every = roost("log").out.splitlines()
    begins = [n for n, line in enumerate(every) if "turn.started" in line]
    for last in (1, 2, 3):
        assert roost("log", "-n", str(last)).out.splitlines() == every[begins[-last] :]
    assert roost("log", "-n", "0").out == ""
    assert roost("log", "-n", "999").out.splitlines() == every


def test_it_is_followed_until_ctrl_c(roost: Roost, live: str) -> None:
    with roost.started("log", live, "-f", "-n", "0") as log:
        wait_until(lambda: roost.daemon.call("daemon.status")["subscriptions"], "it follows")
        roost.daemon.send(live, "echo live")
        log.expect("> echo live\nlive\n")
        log.interrupt()
        assert log.wait() == 130


def test_a_turn_is_followed_to_its_end(roost: Roost, live: str) -> None:
    gate = roost.daemon.workspace / "gate"
    turn = roost.daemon.send(live, f"echo waits; while [ ! -e {gate} ]; do sleep 0.02; done; echo goes")
    with roost.started("log", "-f", "--turn", turn) as log:
        log.expect("waits\n")
        gate.touch()
        log.expect("goes\n")
        assert log.wait() == 0


def test_a_deleted_session_ends_its_feed_with_the_reason(roost: Roost) -> None:
    brief = roost.daemon.create("sh", name="brief")
    with roost.started("log", "brief", "-f", "--events") as log:
        log.expect("session.created")
        roost.daemon.call("session.delete", session=brief)
        assert (log.wait(), "session_deleted" in log.err()) == (6, True)


def test_a_closed_pipe_is_quiet(roost: Roost) -> None:
    session = roost.daemon.create("sh")
    roost.daemon.run(session, "seq 1 40000")
    command = f"{sys.executable} -m roost.client log {session} | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=roost.environ)
    assert (done.stdout, done.stderr) == ("> seq 1 40000\n141\n", "")


def test_a_full_disk_behind_the_output_is_told(roost: Roost) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "roost.client", "log", "told"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=roost.environ)
    assert done.returncode == 1
    assert done.stderr == f"roost: the output cannot be written: {os.strerror(28)}\n"


def test_a_closed_stdout_is_no_crash(roost: Roost) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m roost.client log told >&-"],
        stderr=subprocess.PIPE,
        text=True,
        env=roost.environ,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_call_reaches_every_method(roost: Roost) -> None:
    status = roost("call", "daemon.status")
    assert json.loads(status.out)["phase"] == "running" and status.out.count("\n") > 3
    assert roost("call", "--json", "daemon.status").out.count("\n") == 1
    assert json.loads(roost("call", "session.get", "-", stdin='{"session": "told"}').out)["session"]["name"] == "told"
    assert "openrpc" in json.loads(roost("call", "rpc.discover").out)


def test_call_shows_bytes_as_text(roost: Roost) -> None:
    turn = roost.daemon.call("turn.list", session="told")["turns"][0]["id"]
    (item,) = roost.daemon.call("turn.get", turn=turn)["items"]
    assert json.loads(roost("call", "item.read", json.dumps({"item": item["id"]})).out)["data"] == "one\n"


def test_call_streams_a_subscription(roost: Roost) -> None:
    params = json.dumps({"session": "told", "after": 0, "follow": False})
    first, *events, last = map(json.loads, roost("call", "events.subscribe", params).out.splitlines())
    assert first["after"] == 0 and last["reason"] == "complete"
    assert events == roost.daemon.events("told")


def nested(levels: int) -> str:
    return '{"a": ' * levels + "1" + "}" * levels


@pytest.mark.parametrize(
    ("argv", "status", "name"),
    [
        (["no.such"], 2, "method_not_found"),
        (["session.get", "{}"], 2, "invalid_params"),
        (["session.get", "{"], 2, "invalid_params"),
        (["session.get", "[]"], 2, "invalid_params"),
        (["session.get", nested(31)], 2, "invalid_params"),
        (["session.get", nested(500)], 2, "invalid_params"),
        (["session.get", nested(5000)], 2, "invalid_params"),
        (["session.get", '{"session": "told", "x": 1}'], 2, "invalid_params"),
        (["session.get", '{"session": "nobody"}'], 4, "session_not_found"),
    ],
)
def test_call_says_what_is_wrong(roost: Roost, argv: list[str], status: int, name: str) -> None:
    done = roost("call", *argv)
    assert done.status == status and done.err.startswith("roost: ") and done.err.endswith(f"({name})\n")
    assert done.err.count("\n") == 1
