"""``roost run``: a prompt to a new session, its output, its status."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.cli import Roost
from helpers.daemon import wait_until


def only(pattern: str, text: str) -> str:
    found = re.findall(pattern, text)
    assert len(set(found)) == 1, text
    return str(found[0])


def sessions(roost: Roost) -> list[str]:
    return [session["id"] for session in roost.daemon.call("session.list", limit=1000)["sessions"]]


def test_output_is_streamed_and_the_status_is_the_turns(roost: Roost) -> None:
    done = roost("run", "printf 'no newline'; echo oops >&2; pwd > where")
    assert (done.status, sorted(done.out)) == (0, sorted("no newline" + "oops\n"))
    assert (roost.daemon.workspace / "where").read_text().strip() == str(roost.daemon.workspace)


def test_words_are_joined_and_may_hold_options_behind_two_dashes(roost: Roost) -> None:
    assert roost("run", "--", "printf", "%s-%s", "a", "b").out == "a-b"


def test_a_failed_turn_is_1_and_says_why(roost: Roost) -> None:
    done = roost("run", "echo before; exit 3")
    assert (done.status, done.out) == (1, "before\n")
    assert re.fullmatch(r"t-\w+ failed \(turn_failed\) .*\[exit status 3\]\n", done.err)


def test_a_timeout_is_3(roost: Roost) -> None:
    assert roost("run", "--timeout", "100ms", "sleep 60").status == 3


def test_an_unknown_engine_is_4_and_is_named(roost: Roost) -> None:
    done = roost("run", "-e", "nope", "x")
    assert done.status == 4
    assert "nope" in done.err and done.err.endswith("(engine_not_found)\n")


def test_a_workspace_that_is_missing_is_wrong_usage(roost: Roost) -> None:
    done = roost("run", "-C", "missing", "true")
    assert done.status == 2
    assert str(roost.daemon.workspace / "missing") in done.err and "workspace_invalid" in done.err


def test_the_session_is_named_and_used_again(roost: Roost) -> None:
    assert roost("run", "--name", "kept", "export A=1").status == 0
    assert roost("run", "-s", "kept", "echo $A").out == "1\n"
    done = roost("run", "--name", "kept", "true")
    assert done.status == 8 and "name_taken" in done.err
    assert roost("run", "-s", "kept", "-e", "shell", "true").status == 2


def test_the_environment_is_the_base_set_and_what_was_asked_for(roost: Roost) -> None:
    done = roost("run", "--env", "A=1=2", "--env", "SECRET", "env", SECRET="s", OTHER="o", LC_ALL="C", XDG_X="x")
    seen = {name: value for name, _, value in (line.partition("=") for line in done.out.splitlines())}
    assert seen["A"] == "1=2" and seen["SECRET"] == "s" and seen["LC_ALL"] == "C" and seen["XDG_X"] == "x"
    assert seen["HOME"] == roost.environ["HOME"]
    assert "OTHER" not in seen and "ROOST_NO_START" not in seen
    done = roost("run", "--env", "UNSET_HERE", "env")
    assert done.status == 2 and "UNSET_HERE" in done.err


def test_prompts_from_stdin_and_files(roost: Roost, tmp_path: Path) -> None:
    assert roost("run", "-", stdin="echo from\necho stdin\n").out == "from\nstdin\n"
    (tmp_path / "prompt").write_text("echo file")
    assert roost("run", "--file", str(tmp_path / "prompt")).out == "file\n"


@pytest.mark.parametrize(
    ("argv", "stdin", "message"),
    [
        ([], "", "give a prompt"),
        (["  "], "", "the prompt is empty"),
        (["-"], b"\xff", "not UTF-8"),
        (["--file", "/nowhere"], "", "/nowhere"),
        (["a", "--file", "b"], "", "not from both"),
        (["\udcff"], "", "UTF-8"),
        (["-"], b"x" * 20_000_000, "has 20000000 bytes and the daemon takes 1000000"),
    ],
)
def test_no_prompt_is_wrong_usage_and_makes_no_session(
    roost: Roost, argv: list[str], stdin: str | bytes, message: str
) -> None:
    before = sessions(roost)
    done = roost("run", *argv, stdin=stdin)
    assert done.status == 2 and message in done.err
    assert sessions(roost) == before


def test_an_editor_opens_on_a_terminal(roost: Roost, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "echo edited by $1" > "$2"\n')
    editor.chmod(0o700)
    with roost.started("run", terminal=True, EDITOR=f"{editor} 'a person'") as run:
        run.expect("edited by a person")
        assert run.wait() == 0
    with roost.started("run", terminal=True, EDITOR="false") as run:
        run.expect("nothing was sent (invalid_params)")
        assert run.wait() == 2


def test_detached_it_prints_the_session_and_goes_on(roost: Roost) -> None:
    done = roost("run", "-d", "echo later")
    session = only(r"^(s-\w{16})\n$", done.out)
    assert f"roost attach {session}" in done.err
    assert roost("wait", session).status == 0
    assert roost.daemon.output(roost.daemon.session(session)["last_turn"]) == "later\n"
    assert roost("run", "-dq", "true").err == ""
    ids = json.loads(roost("run", "-d", "--json", "true").out)
    assert roost("wait", ids["turn"]).out == f"{ids['turn']} completed\n"


def test_quiet_prints_the_final_message_whole(roost: Roost) -> None:
    done = roost("run", "-q", "head -c 1000000 /dev/zero | tr '\\0' x")
    assert (done.status, done.out, done.err) == (0, "x" * 1_000_000, "")


def test_json_is_an_event_a_line_up_to_the_end(roost: Roost) -> None:
    done = roost("run", "--json", "echo 1")
    events = [json.loads(line) for line in done.out.splitlines()]
    assert events[0]["kind"] == "turn.queued"
    assert events[-1]["kind"] == "turn.completed"
    assert "".join(e["data"]["text"] for e in events if e["kind"] == "item.delta") == "1\n"
    assert len({event["turn"] for event in events}) == 1
    refused = roost("run", "--json", "-e", "nope", "x")
    assert json.loads(refused.err)["error"]["name"] == "engine_not_found"


def test_output_of_many_megabytes_is_whole(roost: Roost) -> None:
    done = roost("run", "head -c 5000000 /dev/zero | tr '\\0' y")
    assert (done.status, len(done.out)) == (0, 5_000_000)


def test_ctrl_c_cancels_the_turn_and_waits_for_its_end(roost: Roost) -> None:
    with roost.started("run", "echo started; sleep 60") as run:
        run.expect("started\n")
        run.interrupt()
        assert run.wait() == 6


def test_ctrl_c_on_a_terminal(roost: Roost) -> None:
    with roost.started("run", "echo started; sleep 60", terminal=True) as run:
        run.expect("started\r\n")
        run.type("\x03")
        run.expect("cancelling; Ctrl-C again leaves it running")
        run.expect("cancelled (user)")
        assert run.wait() == 6


def test_ctrl_c_twice_leaves_the_turn_running(roost: Roost) -> None:
    deaf = "trap '' INT TERM; echo started; while [ ! -e go ]; do sleep 0.05; done; echo went on > proof"
    with roost.started("run", "--name", "left", deaf, terminal=True) as run:
        run.expect("started\r\n")
        run.type("\x03")
        run.expect("Ctrl-C again leaves it running")
        run.type("\x03")
        left = run.expect("roost attach")
        assert run.wait() == 130
    assert "left t-" in left
    assert roost.daemon.session("left")["turn"] is not None


def test_a_session_on_hold_is_8_and_says_what_to_do(roost: Roost) -> None:
    roost.daemon.create("sh", name="held")
    blocker = roost.daemon.send("held", "while [ ! -e unblock ]; do sleep 0.02; done; exit 1")
    roost.daemon.send("held", "echo behind")
    with roost.started("run", "-s", "held", "echo waits", terminal=True) as run:
        wait_until(lambda: roost.daemon.session("held")["queued"] == 2, "the prompt is queued")
        (roost.daemon.workspace / "unblock").touch()
        run.expect("is on hold (")
        run.expect("roost release")
        assert run.wait() == 8
    assert roost.daemon.wait(blocker)["state"] == "failed"
    done = roost("run", "-s", "held", "echo too")
    assert done.status == 8 and "on hold" in done.err and "roost release" in done.err
    roost.daemon.call("session.release", session="held")
    settled = roost.daemon.call("session.wait", session="held")["session"]
    assert settled["hold"] is None and roost.daemon.output(settled["last_turn"]) == "too\n"


def test_a_hold_of_what_is_behind_it_does_not_end_it(roost: Roost) -> None:
    roost.daemon.create("sh", name="before")
    with roost.started(
        "run", "-s", "before", "trap 'echo told; exit 5' TERM; echo runs; while :; do sleep 0.02; done"
    ) as run:
        run.expect("runs\n")
        roost.daemon.send("before", "true")
        assert roost("stop", "before").status == 0
        assert "told\n" in run.rest()
        assert run.wait() == 6


def test_a_closed_pipe_is_quiet(roost: Roost) -> None:
    with roost.started("run", "--name", "piped", "echo first; while :; do echo more; sleep 0.01; done") as run:
        run.expect("first\n")
        run.stop_reading()
        assert (run.wait(), run.err()) == (141, "")
    assert roost.daemon.session("piped")["turn"] is not None, "the turn goes on"
    roost.daemon.call("turn.cancel", turn=roost.daemon.session("piped")["turn"])


def test_on_a_terminal_it_says_how_to_go_on(roost: Roost) -> None:
    with roost.started("run", "--name", "told-how", "echo x", terminal=True) as run:
        run.expect("go on in it with `roost attach told-how`")
        assert run.wait() == 0


def test_a_closed_stdin_is_an_empty_one(roost: Roost) -> None:
    command = f"cd {roost.daemon.workspace}; {sys.executable} -m roost.client run - <&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=roost.environ)
    assert done.returncode == 2 and "the prompt is empty" in done.stderr
