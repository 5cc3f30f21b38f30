"""``roost run`` at a terminal: Ctrl-D leaves the turn as it is, and what is typed is nobody's prompt."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.cli import Roost
from helpers.daemon import wait_until

UNTIL_GO = "echo started; while [ ! -e {go} ]; do sleep 0.02; done; echo went on"
SHELL = """
import fcntl, os, signal, subprocess, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
run = subprocess.Popen([sys.executable, "-m", "roost.client", *sys.argv[2:]], process_group=0)
open(sys.argv[1]).read()
print("the shell reads", input(), flush=True)
os.tcsetpgrp(0, run.pid)
run.send_signal(signal.SIGCONT)
sys.exit(run.wait())
"""
"""Has a command in the background of its terminal; from when the file of its first argument ends, in the foreground."""


def ends(roost: Roost, session: str, go: str) -> None:
    """The turn that was left goes on to its end."""
    assert roost.daemon.session(session)["turn"] is not None
    (roost.daemon.workspace / go).touch()
    last = roost.daemon.call("session.wait", session=session)["session"]["last_turn"]
    assert roost.daemon.wait(last)["state"] == "completed"


@pytest.mark.parametrize("verb", [["run", "--name"], ["send", "-w"]], ids=["run", "send"])
def test_ctrl_d_leaves_the_turn_running_and_says_where(roost: Roost, verb: list[str]) -> None:
    name = f"{verb[0]}-left"
    if verb[0] == "send":
        roost.daemon.create("sh", name=name)
    with roost.started(*verb, name, UNTIL_GO.format(go=name), terminal=True) as command:
        command.expect("started\r\n")
        command.type("\x04")
        said = command.rest()
        assert command.wait() == 0
    assert re.fullmatch(r"\S*left t-\w+, which goes on; see it with `roost attach s-\w+`\S*\s*", said), said
    ends(roost, name, name)


def test_ctrl_d_leaves_a_prompt_that_waits(roost: Roost) -> None:
    roost.daemon.create("sh", name="busy")
    roost.daemon.send("busy", UNTIL_GO.format(go="go-busy"))
    with roost.started("run", "-s", "busy", "true", terminal=True) as run:
        wait_until(lambda: roost.daemon.session("busy")["queued"] == 1, "the prompt is queued")
        run.type("\x04")
        assert re.search(r"left t-\w+, which goes on; see it with `roost attach s-", run.rest())
        assert run.wait() == 0
    assert roost.daemon.session("busy")["queued"] == 1
    ends(roost, "busy", "go-busy")


def test_what_is_typed_is_said_not_to_be_sent(roost: Roost) -> None:
    with roost.started("run", "--name", "typed", UNTIL_GO.format(go="go-typed"), terminal=True) as run:
        run.expect("started\r\n")
        run.type("more\n")
        run.expect("that is not sent; `roost attach s-")
        (roost.daemon.workspace / "go-typed").touch()
        run.expect("went on\r\n")
        assert run.wait() == 0
    assert len(roost.daemon.call("turn.list", session="typed")["turns"]) == 1


def test_the_end_of_what_is_no_terminal_leaves_nothing(roost: Roost) -> None:
    command = [sys.executable, "-m", "roost.client", "run", "sleep 0.1; echo done"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=roost.environ)
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert roost("run", "sleep 0.1; echo done").out == "done\n", "nor does an empty pipe"


def test_in_the_background_it_leaves_the_terminal_to_others(roost: Roost, tmp_path: Path) -> None:
    """Else whatever is typed at the shell would stop it. Back in the foreground it hears Ctrl-D."""
    os.mkfifo(tmp_path / "hold")
    argv = [str(tmp_path / "hold"), "run", "--name", "behind"]
    prompt = f"{UNTIL_GO.format(go='go-behind')}; while [ ! -e go-end ]; do sleep 0.02; done"
    with roost.started(*argv, prompt, terminal=True, program=SHELL) as shell:
        shell.expect("started\r\n")
        shell.type("words\n")
        (roost.daemon.workspace / "go-behind").touch()
        shell.expect("went on\r\n")
        (tmp_path / "hold").write_text("")
        shell.expect("the shell reads words\r\n")
        shell.type("\x04")
        shell.expect("which goes on; see it with `roost attach s-")
        assert shell.wait() == 0
    ends(roost, "behind", "go-end")
