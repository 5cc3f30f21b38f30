"""The demo runs; each of its checks notices when it is not so; and it leaves nothing behind, however it ends."""

import copy
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from end_to_end.demo_acts import ACTS
from end_to_end.demo_checks import CHECKS, Check, Seen
from end_to_end.demo_run import main
from end_to_end.demo_screen import Screen
from helpers.daemon import DEADLINE, wait_until

DEMO = Path(__file__).with_name("demo.py")


class Played(NamedTuple):
    """A real run of the demo: what it printed, and what it saw."""

    output: str
    seen: Seen


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory with a short path, for the demo to make its own in."""
    with tempfile.TemporaryDirectory(prefix="d-") as directory:
        yield Path(directory)


def started(scratch: Path, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    """The demo as `make demo` starts it, with its temporary directory below ``scratch``."""
    return subprocess.Popen(
        [sys.executable, str(DEMO), *arguments],
        env={**os.environ, "TMPDIR": str(scratch), **environ},
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def ended(demo: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit status and the rest of its output."""
    output = demo.communicate(timeout=2 * DEADLINE)[0]
    return demo.returncode, output


def mentioning(directory: Path) -> set[int]:
    """Processes whose environment names ``directory``: the demo, its daemon, and what that started."""
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and str(directory).encode() in (entry / "environ").read_bytes():
                found.add(int(entry.name))
    return found


def crossed(output: str) -> list[str]:
    """The names of the checks that were not so."""
    lines = [line.strip() for line in output.splitlines()]
    return [name for line in lines if line.startswith("✗ ") for name in line[2:].partition(":")[0].split(", ")]


# --- as it is ---


@pytest.fixture(scope="module")
def played() -> Played:
    with tempfile.TemporaryDirectory(prefix="d-") as directory:
        record = Path(directory, "seen.json")
        status, output = ended(started(Path(directory), "--record", str(record)))
        assert (status, crossed(output)) == (0, []), output
        assert mentioning(Path(directory)) == set()
        return Played(output, json.loads(record.read_text()))


def test_the_demo_tells_its_story_and_every_check_is_so(played: Played) -> None:
    told = played.output.splitlines()
    acts = [f"{number}. {act.title}" for number, act in enumerate(ACTS, start=1)]
    assert [line for line in told if line in acts] == acts
    assert [line.strip() for line in told if line.startswith("   ✓ ")] == [f"✓ {check.says}" for check in CHECKS]


def test_no_claim_is_cut_on_a_terminal_of_80_columns() -> None:
    assert [check.name for check in CHECKS if len(f"   ✓ {check.says}") > 79] == []


def test_output_into_a_pipe_has_no_colour(played: Played) -> None:
    assert "\033" not in played.output


# --- as it must not be ---


def say(done: dict[str, Any], text: str) -> None:
    """Have the command of a turn print something else."""
    for item in done["items"]:
        item["content"] = text


def everywhere(seen: Seen, feeds: tuple[str, str], which: str, **changed: Any) -> None:
    """Change the first event of that kind, in what was followed as in what is stored."""
    for feed in feeds:
        next(event for event in seen[feed] if event["kind"] == which).update(changed)


LIES: dict[str, Callable[[Seen], Any]] = {
    "daemon_answers": lambda seen: seen["status"].update(pid=1),
    "commands_succeed": lambda seen: seen["commands"][1]["turn"].update(exit_code=3),
    "work_is_real": lambda seen: say(seen["commands"][0], "12"),
    "directory_carries_over": lambda seen: say(seen["commands"][2], "/\nall compile"),
    "environment_carries_over": lambda seen: say(seen["commands"][3], ""),
    "thoughts_in_order": lambda seen: seen["chain"]["state"]["history"].insert(0, {"thought": "of another"}),
    "revision_is_kept": lambda seen: seen["chain"]["state"]["history"][2].update(is_revision=False),
    "branch_is_kept": lambda seen: seen["chain"]["state"]["branches"]["numbers"].pop(),
    "total_is_raised": lambda seen: seen["chain"]["state"]["history"][-1].update(total_thoughts=3),
    "both_are_followed": lambda seen: everywhere(seen, ("watched", "stored"), "turn.completed", kind="turn.failed"),
    "follower_is_lossless": lambda seen: seen["watched"].insert(0, seen["watched"][0]),
    "turns_are_queued": lambda seen: seen["queued"].pop(),
    "exit_status_is_0": lambda seen: seen.update(exit_status=9),
    "report_counts_both": lambda seen: seen["report"].update(saved=0),
    "batch_is_ok": lambda seen: seen["report"].update(batches_ok=0, batches_failed=1),
    "report_names_the_turn": lambda seen: seen["report"]["interrupted"].clear(),
    "stream_end_has_a_reason": lambda seen: seen.update(stream_end="no reason"),
    "process_is_new": lambda seen: seen["status_again"].update(pid=seen["pid"]),
    "turn_is_interrupted": lambda seen: seen["cut_off"]["turn"].update(reason=None),
    "output_is_kept": lambda seen: say(seen["cut_off"], ""),
    "thoughts_are_restored": lambda seen: seen["chain_again"]["state"]["branches"].clear(),
    "directory_is_restored": lambda seen: seen["place_again"]["state"].update(cwd="/"),
    "environment_is_restored": lambda seen: seen["place_again"]["state"]["env"].clear(),
    "queue_is_held": lambda seen: seen["held"].update(hold=None),
    "queue_is_whole": lambda seen: seen["queued_again"].reverse(),
    "queue_is_released": lambda seen: seen["released"].update(released=2),
    "queue_runs_in_order": lambda seen: seen["second_life"].reverse(),
    "queue_uses_what_was_restored": lambda seen: say(seen["freed"][0], "/"),
    "chain_goes_on": lambda seen: seen["chain_after"]["state"]["history"].pop(0),
    "whole_story_is_lossless": lambda seen: seen["second_life"].pop(0),
    "sessions_have_no_gap": lambda seen: everywhere(seen, ("first_life", "stored_again"), "turn.started", seq=1),
    "last_exit_status_is_0": lambda seen: seen.update(last_exit_status=9),
}
"""For each check, what would have to be seen for the promise to be broken, and nothing else changed."""


def replayed(seen: Seen, scratch: Path) -> int:
    """The exit status of the demo if this is what it sees."""
    record = scratch / "seen.json"
    record.write_text(json.dumps(seen))
    return main(["--replay", str(record)])


def test_there_is_a_lie_for_each_check() -> None:
    assert sorted(LIES) == sorted(check.name for check in CHECKS)


def test_what_was_seen_passes_again(played: Played, scratch: Path) -> None:
    assert replayed(played.seen, scratch) == 0


@pytest.mark.parametrize("check", CHECKS, ids=[check.name for check in CHECKS])
def test_each_check_notices(check: Check, played: Played, scratch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = copy.deepcopy(played.seen)
    LIES[check.name](seen)
    status = replayed(seen, scratch)
    assert (status, crossed(capsys.readouterr().out)) == (1, [check.name])


def test_what_was_not_seen_at_all_is_no_success(scratch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (replayed({}, scratch), crossed(capsys.readouterr().out)) == (1, ["daemon_answers"])


# --- what it leaves ---


NO_DAEMON = """
import os, sys
if "roost.daemon" in sys.orig_argv:
    os.write(2, b"no twigs left\\n")
    os._exit(7)
"""


def test_a_check_that_fails_in_a_real_run_ends_it_and_all_that_it_started(scratch: Path) -> None:
    (scratch / "bin").mkdir()
    (scratch / "bin" / "wc").write_text("#!/bin/sh\necho 12\n")
    (scratch / "bin" / "wc").chmod(0o755)
    status, output = ended(started(scratch, PATH=f"{scratch}/bin:{os.environ['PATH']}"))
    assert (status, crossed(output)) == (1, ["work_is_real"]), output
    assert mentioning(scratch) == set()


def test_a_daemon_that_does_not_start_is_said_with_its_log(scratch: Path) -> None:
    (scratch / "sitecustomize.py").write_text(NO_DAEMON)
    status, output = ended(started(scratch, PYTHONPATH=str(scratch)))
    assert (status, crossed(output)) == (1, ["daemon_answers"]), output
    assert "exit status 7" in output
    assert "no twigs left" in output
    assert mentioning(scratch) == set()


@pytest.mark.parametrize(
    ("act", "number"), [("start", signal.SIGTERM), ("shell", signal.SIGHUP), ("stop", signal.SIGINT)]
)
def test_interrupted_it_ends_all_that_it_started(act: str, number: signal.Signals, scratch: Path) -> None:
    title = next(one.title for one in ACTS if one.name == act)
    demo = started(scratch)
    assert demo.stdout
    wait_until(lambda: demo.stdout and title in demo.stdout.readline(), f"act {act} begins")
    demo.send_signal(number)
    status, output = ended(demo)
    assert status == 128 + number, output
    assert mentioning(scratch) == set()
    assert list(scratch.iterdir()) == []


# --- how it looks ---


class Terminal(io.StringIO):
    """What says of itself that it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colour_is_for_terminals_and_obeys_no_color(environ: dict[str, str], coloured: bool) -> None:
    terminal = Terminal()
    Screen(terminal, environ).tick("it is so")
    assert terminal.getvalue() == ("\033[32m   ✓ it is so\033[0m\n" if coloured else "   ✓ it is so\n")


def test_a_terminal_that_knows_only_ascii_can_show_it() -> None:
    raw = io.BytesIO()
    console = io.TextIOWrapper(raw, encoding="ascii")
    Screen(console, {}).cross("name", "says …")
    assert raw.getvalue() == b"   FAILED: name: says ?\n"
