"""Ctrl-C at the moments that a person rarely meets: while the command is imported, and while its prompt is sent."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from helpers.cli import Roost, Started
from helpers.daemon import DEADLINE, wait_until
from helpers.relay import Relay

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
MODULE, _, FUNCTION = PROJECT["project"]["scripts"]["roost"].partition(":")
COMMANDS = {
    "module": [sys.executable, "-m", "roost.client"],
    "script": [sys.executable, "-c", f"import sys; from {MODULE} import {FUNCTION}; sys.exit({FUNCTION}())"],
}
CTRL_C = """
import os, signal, sys
class CtrlC:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, CtrlC())
"""
"""Python imports it at its start: a Ctrl-C comes when a module is about to be imported."""
CTRL_C_IN = """
import os, signal, sys
def profile(frame, event, arg):
    if event == "call" and frame.f_code.co_name == {function!r}:
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGINT)
sys.setprofile(profile)
"""
"""The same, when a function is first called."""


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize(("module", "status"), [("argparse", -2), ("roost.client.commands.ls", -2)])
def test_while_it_is_imported_it_ends_without_a_word(
    roost: Roost, tmp_path: Path, command: list[str], module: str, status: int
) -> None:
    (tmp_path / "sitecustomize.py").write_text(CTRL_C.format(module=module))
    # What measures the tests imports much before the command does.
    environ = {name: value for name, value in roost.environ.items() if not name.startswith("COVERAGE_")}
    environ["PYTHONPATH"] = str(tmp_path)
    done = subprocess.run([*command, "ls"], capture_output=True, text=True, env=environ)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")
    ignoring = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command, "ls", "-q"]
    done = subprocess.run(ignoring, capture_output=True, text=True, env=environ)
    assert (done.returncode, done.stderr) == (0, ""), "it is ignored where whoever started it says so"


@pytest.mark.parametrize(("function", "status"), [("format_usage", -2), ("_reach", 130)])
def test_while_its_line_is_parsed_and_after_it_ends_without_a_word(
    roost: Roost, tmp_path: Path, function: str, status: int
) -> None:
    (tmp_path / "sitecustomize.py").write_text(CTRL_C_IN.format(function=function))
    done = roost("run", "-q", "true", PYTHONPATH=str(tmp_path))
    assert done == (status, "", "")


@pytest.mark.parametrize("verb", [["run", "-s"], ["send", "-w"]], ids=["run", "send"])
def test_while_the_prompt_is_sent_it_cancels_the_turn(roost: Roost, tmp_path: Path, verb: list[str]) -> None:
    name = verb[0]
    roost.daemon.create("sh", name=name)
    with (
        Relay(tmp_path / "relay", roost.daemon.socket, "turn.send") as relay,
        roost.started(*verb, name, "sleep 60", ROOST_SOCKET=str(tmp_path / "relay")) as command,
    ):
        assert relay.asked.wait(DEADLINE)
        wait_until(lambda: roost.daemon.session(name)["turn"], "it runs, and the command does not know")
        command.interrupt()
        relay.go.set()
        assert command.wait() == 6
        assert "cancelling; Ctrl-C again leaves it running\n" in command.err()


def test_twice_while_the_prompt_is_sent_it_leaves_and_says_where(roost: Roost, tmp_path: Path) -> None:
    session = roost.daemon.create("sh")
    with (
        Relay(tmp_path / "relay", roost.daemon.socket, "turn.send") as relay,
        roost.started("run", "-s", session, "sleep 60", ROOST_SOCKET=str(tmp_path / "relay")) as command,
    ):
        assert relay.asked.wait(DEADLINE)
        wait_until(lambda: roost.daemon.session(session)["turn"], "it runs, and the command does not know")
        command.interrupt()
        wait_until(lambda: heard(command), "the first is heard")
        command.interrupt()
        assert command.wait() == 130
        assert command.err() == f"left the prompt, which goes on; see it with `roost attach {session}`\n"
    assert roost.daemon.session(session)["turn"] is not None


def heard(command: Started) -> bool:
    """No signal is on its way to the command, and it waits again."""
    lines = Path(f"/proc/{command.process.pid}/status").read_text().splitlines()
    fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return int(fields["SigPnd"], 16) == int(fields["ShdPnd"], 16) == 0 and fields["State"].startswith("S")
