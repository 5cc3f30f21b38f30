"""The verbs that make, show and change sessions: new ls show start stop state clear checkpoint archive rename rm."""

import json
from pathlib import Path

import pytest

from helpers.cli import Roost


def test_without_sessions_ls_says_how_to_make_one(roost: Roost) -> None:
    roost.daemon.delete_all()
    done = roost("ls")
    assert (done.status, done.out) == (0, "")
    assert "roost run" in done.err
    assert roost("ls", "-q") == (0, "", "")


def test_new_prints_the_id_and_says_what_to_do_next(roost: Roost) -> None:
    done = roost("new", "--name", "fresh", "-e", "thinking", "--after", "failed=continue")
    session = roost.daemon.session(done.out.strip())
    assert session["name"] == "fresh" and session["engine"] == "thinking" and session["state"] == "idle"
    assert session["after"] == {"failed": "continue", "interrupted": "hold", "cancelled": "hold"}
    assert "roost attach fresh" in done.err
    assert json.loads(roost("new", "--json").out)["engine"] == "shell"
    quiet = roost("new", "-q")
    assert quiet.err == "" and roost.daemon.session(quiet.out.strip())


def test_the_workspace_is_the_working_directory_or_the_one_named(roost: Roost, tmp_path: Path) -> None:
    for options, workspace in ([], roost.daemon.workspace), (["-C", str(tmp_path)], tmp_path):
        session = roost("new", *options).out.strip()
        assert roost.daemon.session(session)["workspace"] == str(workspace)


def test_ls_lists_states_and_marks(roost: Roost) -> None:
    roost.daemon.create(name="listed")
    assert roost("run", "-q", "-s", "listed", "exit 3").status == 1
    for prompt in ("while [ ! -e fail ]; do sleep 0.02; done; exit 4", "echo behind"):
        roost.daemon.send("listed", prompt)
    (roost.daemon.workspace / "fail").touch()
    roost.daemon.call("session.wait", session="listed")
    header, *rows = roost("ls").out.splitlines()
    (line,) = [line for line in rows if " listed " in line]
    assert line.split()[2:5] == ["shell", "ready", "1"]
    assert "on hold: failed" in line and str(roost.daemon.workspace) in line
    assert header.split() == ["SESSION", "NAME", "ENGINE", "STATE", "QUEUE", "AGE", "WORKSPACE", "NOTE"]
    assert len(rows) == len(roost("ls", "-q").out.splitlines()) == len(roost("ls", "--json").out.splitlines())


def test_ls_pages_through_more_sessions_than_one_answer_holds(roost: Roost) -> None:
    with roost.daemon.connect() as connection:
        params = {"workspace": str(roost.daemon.workspace)}
        asked = [connection.send("session.create", params) for _ in range(250)]
        made = {connection.result(msgid)["session"]["id"] for msgid in asked}
    assert made <= set(roost("ls", "-q").out.split())
    archived = roost("archive", *made, "--json").out.splitlines()
    assert {json.loads(line)["id"] for line in archived} == made


def test_show_tells_of_a_session_and_its_turns(roost: Roost) -> None:
    session = roost.daemon.create("sh", name="seen")
    roost.daemon.run(session, "echo one")
    text = roost("show", "seen").out
    assert f"session     {session}\n" in text
    assert "echo one" in text.splitlines()[-1]
    assert f"session     {session}\n" in roost("show", session[:8]).out  # any start of the id will do


def test_show_tells_of_a_turn_and_all_its_output(roost: Roost) -> None:
    turn = roost.daemon.send(roost.daemon.create("sh"), "head -c 400000 /dev/zero | tr '\\0' z; exit 5")
    roost.daemon.wait(turn)
    text = roost("show", turn[:10]).out
    assert f"turn         {turn}\n" in text and "exit status  5\n" in text
    assert text.count("z") >= 400_000
    assert json.loads(roost("show", turn, "--json").out)["items"][0]["truncated"]


@pytest.mark.parametrize("verb", ["show", "cancel", "wait", "start", "stop", "archive", "rm", "state", "clear", "log"])
def test_what_is_not_there_is_4_and_named(roost: Roost, verb: str) -> None:
    done = roost(verb, "nobody")
    assert (done.status, done.out) == (4, "")
    assert "nobody" in done.err and done.err.endswith("(session_not_found)\n")


@pytest.mark.parametrize("verb", ["show", "cancel", "wait"])
def test_a_turn_that_is_not_there_is_4_too(roost: Roost, verb: str) -> None:
    done = roost(verb, "t-aaaaaaaaaaaaaaaa")
    assert (done.status, done.out) == (4, "")
    assert done.err.endswith("(turn_not_found)\n")


def test_start_and_stop_a_child(roost: Roost) -> None:
    session = roost.daemon.create(name="child")
    done = roost("start", "child")
    assert (done.status, done.out) == (0, f"{session} ready\n")
    assert "roost send child" in done.err
    assert roost.daemon.session("child")["pid"]
    assert roost("stop", "child").out == f"{session} idle\n"
    assert roost.daemon.session("child")["pid"] is None
    assert roost("stop").status == 2


def test_stop_force_ends_a_turn_that_is_deaf(roost: Roost) -> None:
    roost.daemon.create(name="deaf")
    with roost.started("run", "-s", "deaf", "trap '' INT TERM; echo on; sleep 60") as run:
        run.expect("on\n")
        assert roost("stop", "--force", "deaf").status == 0
        assert run.wait() == 6


def test_several_at_once_and_the_first_failure_counts(roost: Roost) -> None:
    one, two = roost.daemon.create(name="one"), roost.daemon.create(name="two")
    done = roost("start", "one", "nobody", "two")
    assert (done.status, done.out) == (4, f"{one} ready\n{two} ready\n")
    assert "nobody" in done.err
    live = {json.loads(line)["id"] for line in roost("stop", "--all", "--json").out.splitlines()}
    assert {one, two} <= live
    assert "ready" not in {session["state"] for session in roost.daemon.call("session.list", limit=1000)["sessions"]}


def test_state_and_checkpoints(roost: Roost) -> None:
    roost.daemon.create(name="stateful")
    roost.daemon.run("stateful", "export A=1")
    done = roost("state", "stateful")
    assert json.loads(done.out)["env"] == {"A": "1"} and done.err.startswith("from the ")
    saved = roost("checkpoint", "stateful", "before")
    assert saved.out.splitlines()[1].split()[0] == "before" and "roost state stateful --name before" in saved.err
    roost.daemon.run("stateful", "export A=2")
    assert json.loads(roost("state", "stateful", "--name", "before").out)["env"] == {"A": "1"}
    assert json.loads(roost("state", "stateful", "--json").out)["state"]["env"] == {"A": "2"}
    names = {line.split()[0] for line in roost("checkpoint", "stateful", "--list").out.splitlines()[1:]}
    assert names == {"latest", "before"}
    assert roost("clear", "stateful").status == 0
    assert json.loads(roost("state", "stateful").out)["env"] == {}
    assert roost("state", "stateful", "--name", "none").status == 4


def test_a_session_that_did_nothing_has_no_state_and_no_checkpoint(roost: Roost) -> None:
    roost.daemon.create(name="blank")
    assert roost("state", "blank").err == "it has no state yet\n"
    done = roost("checkpoint", "blank", "--list")
    assert (done.status, done.out) == (0, "") and "nothing was saved yet" in done.err


def test_archive_and_unarchive(roost: Roost) -> None:
    session = roost.daemon.create(name="away")
    done = roost("archive", "away")
    assert (done.status, done.out) == (0, f"{session} archived\n")
    assert "roost unarchive away" in done.err
    assert session not in roost("ls").out
    assert session in roost("ls", "-a").out
    assert roost("run", "-s", "away", "true").status == 8
    assert roost("unarchive", "away").out == f"{session} idle\n"
    assert session in roost("ls").out


@pytest.mark.parametrize("verb", [["unarchive"], ["rm"], ["show"], ["archive"], ["send", "x"], ["stop"], ["log"]])
def test_a_name_that_two_sessions_have_is_refused_by_every_verb(roost: Roost, verb: list[str]) -> None:
    """Else `unarchive NAME` would do nothing to the live one, and a following `rm` would delete that."""
    away = roost.daemon.create(name="twice")
    roost("archive", "twice")
    live = roost.daemon.create(name="twice")
    try:
        done = roost(verb[0], "twice", *verb[1:])
        assert done.status == 2 and away in done.err and live in done.err, done
        assert {roost.daemon.session(away)["archived"], roost.daemon.session(live)["archived"]} == {True, False}
    finally:
        roost("rm", live, away)
    assert roost("show", "twice").status == 4


def test_rename(roost: Roost) -> None:
    session = roost.daemon.create(name="old")
    assert roost("rename", "old", "renamed").err == f"{session} is renamed now\n"
    assert roost.daemon.session("renamed")["id"] == session
    taken = roost.daemon.create(name="taken")
    done = roost("rename", taken, "renamed")
    assert done.status == 8 and done.err.endswith("(name_taken)\n")
    assert roost("rename", "renamed", "no good").status == 2
    assert json.loads(roost("rename", "renamed", "again", "--json").out)["name"] == "again"


def test_rm_deletes_and_refuses_what_runs_unless_forced(roost: Roost) -> None:
    session = roost.daemon.create(name="gone")
    with roost.started("run", "-s", "gone", "echo on; sleep 60") as run:
        run.expect("on\n")
        refused = roost("rm", "gone")
        assert refused.status == 8 and refused.err.endswith("(session_busy)\n")
        assert roost("rm", "--force", "gone") == (0, "", "1 deleted; `roost ls` lists the others\n")
        assert run.wait() == 6
    assert session not in roost("ls", "-a").out
    one, two, three = [roost.daemon.create(name=f"gone-{n}") for n in range(3)]
    done = roost("rm", one, "nobody", two)
    assert (done.status, done.out) == (4, "") and done.err.endswith("\n2 deleted; `roost ls` lists the others\n")
    assert roost("rm", "-q", three) == (0, "", "")
