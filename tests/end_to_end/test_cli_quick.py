"""What a quick verb imports, and what only a person at a terminal gets."""

import os
import re
import subprocess
import sys

import pytest

from helpers.cli import Roost

SLOW = {"pydantic", "trio", "rich", "importlib.metadata", "asyncio", "typing", "json", "socket", "subprocess", "shutil"}
"""Modules that a quick verb does without."""
LOADED = """
import sys
from roost.client.__main__ import main
status = main()
print(*sys.modules, file=sys.stderr)
sys.exit(status)
"""


@pytest.fixture(scope="module", autouse=True)
def seen(roost: Roost) -> None:
    """A session with a turn behind it, called ``seen``."""
    roost.daemon.run(roost.daemon.create("sh", name="seen"), "echo [red]x[/red]")


@pytest.mark.parametrize("argv", [["ls"], ["ls", "-q"], ["show", "seen"], ["queue", "seen"], ["cancel", "seen"]])
def test_a_quick_verb_imports_nothing_slow(roost: Roost, argv: list[str]) -> None:
    command = [sys.executable, "-c", LOADED, *argv]
    # What measures the tests imports much, and would be seen here.
    environ = {name: value for name, value in roost.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(command, capture_output=True, text=True, env=environ)
    assert done.returncode == 0
    assert SLOW & set(done.stderr.splitlines()[-1].split()) == set()


def test_a_table_on_a_terminal_has_its_width_and_colour(roost: Roost) -> None:
    with roost.started("ls", terminal=True) as ls:
        assert ls.wait() == 0
        wide = ls.rest()
    assert "\x1b[" in wide and "seen" in wide
    with roost.started("show", "seen", terminal=True, COLUMNS="70") as show:
        lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in show.rest().splitlines()]
    assert max(map(len, lines[lines.index("") :])) <= 70
    assert any("[red]x" in line for line in roost("show", "seen").out.splitlines()), "brackets are no markup"


def test_no_color_is_obeyed(roost: Roost) -> None:
    for argv in (["ls"], ["run", "exit 3"], ["log", "seen"]):
        with roost.started(*argv, terminal=True, NO_COLOR="1") as command:
            assert "\x1b" not in command.rest()


def test_notes_are_dim_on_a_terminal_and_plain_elsewhere(roost: Roost) -> None:
    with roost.started("run", "exit 3", terminal=True) as run:
        assert "\x1b[2mt-" in run.rest()
    assert "\x1b" not in roost("run", "exit 3").err


def test_what_a_command_prints_reaches_the_terminal_as_it_is(roost: Roost) -> None:
    with roost.started("run", r"printf '\033[31mred\033[0m\n'", terminal=True) as run:
        assert "\x1b[31mred\x1b[0m" in run.rest()
    roost.daemon.run("seen", "true # \x1b[31m")
    with roost.started("show", "seen", terminal=True) as show:
        shown = show.rest()
    assert "true # " in shown and "\x1b[31m" not in shown.replace("\x1b[31mfailed", "")


def test_an_output_that_cannot_show_a_character_is_no_crash(roost: Roost) -> None:
    done = roost("run", "printf 'caf\u00e9'", PYTHONIOENCODING="ascii")
    assert (done.status, done.out) == (0, "caf?")


def test_help_is_quiet_where_nobody_reads_it(roost: Roost) -> None:
    for argv in (["--help"], ["ls", "--help"], ["--version"]):
        reads, writes = os.pipe()
        os.close(reads)
        command = [sys.executable, "-m", "roost.client", *argv]
        # Unbuffered it would be written, and refused, before the end.
        environ = {name: value for name, value in roost.environ.items() if name != "PYTHONUNBUFFERED"}
        done = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, env=environ)
        os.close(writes)
        assert (done.returncode, done.stderr) == (141, b"")


def test_doctor_on_a_narrow_terminal_says_what_is_fine(roost: Roost) -> None:
    with roost.started("doctor", terminal=True, COLUMNS="80", NO_COLOR="1") as doctor:
        lines = doctor.rest().splitlines()
    assert any(line.startswith("ok") and "  pidfd " in line for line in lines)
    assert all(len(line) <= 80 and "…" not in line for line in lines)
