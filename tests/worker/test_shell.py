"""The worker `shell`: what a command line does to its turn."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.worker_driver import SHELL, Driver, Gate, HeardItem, wait_gone

UNTOLD = "the shell did not tell its directory and environment"


@pytest.fixture(scope="module")
def command() -> list[str]:
    return SHELL


@pytest.fixture
def shell(worker: Driver, tmp_path: Path) -> Driver:
    """The worker of most tests, cleared of what the one before did, in a directory of this test."""
    worker.call("state.clear")
    worker.turn(f"cd {tmp_path}")
    return worker


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Driver]:
    """One for this test alone, which is measured, ends, or is left with a job."""
    with Driver(SHELL, tmp_path) as worker:
        worker.initialize()
        yield worker


def ending(answer: dict[str, Any]) -> tuple[str, int | None]:
    return answer["status"], answer["exit_code"]


def test_a_command_line_is_an_item_with_its_output_and_status(shell: Driver) -> None:
    assert ending(shell.turn("echo out; echo err >&2; echo again")) == ("completed", 0)
    [item] = shell.items.values()
    text = "out\nerr\nagain\n"
    title = "echo out; echo err >&2; echo again"
    assert item == HeardItem("command", title, {"exit_code": 0}, "completed", item.deltas)
    assert item.text == text


def test_output_streams_while_the_command_runs(shell: Driver, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    running = shell.start("echo first; read line <gate; echo second")
    shell.wait_output("first\n")
    gate.open()
    assert ending(shell.answer(running)) == ("completed", 0)
    assert shell.output == "first\nsecond\n"


def test_cd_carries_over(shell: Driver, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    shell.turn("cd a/b")
    shell.turn("pwd; cd ..")
    assert shell.output == f"{tmp_path}/a/b\n"
    shell.turn("cd - >/dev/null; pwd")
    assert shell.output == f"{tmp_path}/a/b\n"


@pytest.mark.parametrize("line", ["unset PWD; cd a", "cd a; export -n PWD", "cd a; PWD=/", "pwd() { :; }; cd a"])
def test_cd_carries_over_whatever_pwd_is(shell: Driver, tmp_path: Path, line: str) -> None:
    (tmp_path / "a").mkdir()
    shell.turn(line)
    shell.turn("pwd")
    assert shell.said == [("command", f"{tmp_path}/a\n")]
    shell.turn("mkdir $'=b\\n'; cd =*; unset PWD")
    shell.turn("pwd; echo x")
    assert shell.output == f"{tmp_path}/a/=b\n\nx\n"


def test_cd_through_a_link_keeps_the_name_people_use(shell: Driver, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    shell.turn("cd link")
    shell.turn("pwd; pwd -P")
    assert shell.output == f"{tmp_path}/link\n{tmp_path}/real\n"


def test_export_and_unset_carry_over(shell: Driver) -> None:
    shell.turn("export GREETING='hello\n  world' HOME_WAS=$HOME; unset HOME; not_exported=1; export -f nothing 2>&-")
    shell.turn('echo "$GREETING|${HOME-unset}|${not_exported-unset}"')
    assert shell.output == "hello\n  world|unset|unset\n"


def test_an_exported_function_carries_over(shell: Driver) -> None:
    shell.turn("greet() { echo hi $1; }; export -f greet")
    shell.turn("greet you")
    assert shell.output == "hi you\n"


def test_a_line_that_begins_with_a_dash_is_no_option_of_the_shell(shell: Driver, tmp_path: Path) -> None:
    tool = tmp_path / "--version"
    tool.write_text("#!/bin/sh\necho mine\n")
    tool.chmod(0o700)
    assert ending(shell.turn("-e")) == ("failed", 127)
    shell.turn(f"export PATH={tmp_path}:$PATH")
    assert ending(shell.turn("--version")) == ("completed", 0)
    assert shell.output == "mine\n"


def test_exit_3_fails_the_turn_and_keeps_what_was_done(shell: Driver) -> None:
    answer = shell.turn("export A=1; exit 3")
    assert ending(answer) == ("failed", 3)
    assert answer["message"] == "the command ended with status 3"
    assert [(item.state, item.data) for item in shell.items.values()] == [("failed", {"exit_code": 3})]
    shell.turn("echo $A")
    assert shell.output == "1\n"


@pytest.mark.parametrize("code", [128, 193, 255])
def test_a_status_that_is_no_signal_s_names_none(shell: Driver, code: int) -> None:
    assert shell.turn(f"exit {code}")["message"] == f"the command ended with status {code}"


def test_exec_keeps_the_state_from_before_and_says_so(shell: Driver) -> None:
    shell.turn("export A=1")
    assert ending(shell.turn("export A=2; exec sh -c 'echo replaced; exit 4'")) == ("failed", 4)
    assert shell.said[0] == ("command", "replaced\n")
    assert shell.said[1][0] == "status" and UNTOLD in shell.said[1][1]
    shell.turn("echo $A")
    assert shell.output == "1\n"


def test_a_syntax_error_is_bash_s_own_with_its_line(shell: Driver) -> None:
    assert ending(shell.turn("export A=1\necho (")) == ("failed", 2)
    assert "line 2: syntax error" in shell.output
    shell.turn("echo $A\nnowhere")
    assert shell.output.startswith("1\nbash: line 2: nowhere: ")


def test_kill_of_itself_is_a_failure_with_the_signal(shell: Driver) -> None:
    answer = shell.turn("export A=1; kill $$")
    assert ending(answer) == ("failed", 143)
    assert answer["message"] == "the command ended with status 143 (signal 15)"
    assert ending(shell.turn("export A=2; kill -9 $$")) == ("failed", 137)
    assert UNTOLD in shell.output
    shell.turn("echo $A")
    assert shell.output == "1\n"


def test_a_background_job_runs_on_and_its_late_output_harms_nothing(shell: Driver, tmp_path: Path) -> None:
    """The turn ends with the shell; more than a pipe holds neither stops the job nor kills it."""
    gate, done = Gate(tmp_path / "gate"), Gate(tmp_path / "done")
    job = "{ read line <gate; head -c 1000000 /dev/zero; echo wrote $? >done; } &"
    assert ending(shell.turn(f"echo now; {job}")) == ("completed", 0)
    assert shell.output == "now\n"
    gate.open()
    assert done.wait() == "wrote 0\n"
    assert ending(shell.turn("echo next")) == ("completed", 0)
    assert shell.output == "next\n"


def test_output_that_a_child_writes_just_after_the_shell_is_taken(shell: Driver) -> None:
    shell.turn("exec > >(tr a-z A-Z); echo loud")
    assert shell.output == "LOUD\n"


def test_a_job_that_never_stops_writing_does_not_hold_the_turn(own: Driver) -> None:
    assert ending(own.turn("yes &")) == ("completed", 0)
    assert ending(own.turn("echo next")) == ("completed", 0)


def test_stdin_is_empty(shell: Driver) -> None:
    shell.turn("cat; wc -c; read line || echo nothing")
    assert shell.output == "0\nnothing\n"


def test_100_mb_arrive_whole_and_in_pieces(own: Driver) -> None:
    assert ending(own.turn("head -c 100000000 /dev/zero | tr '\\0' x")) == ("completed", 0)
    [item] = own.items.values()
    assert item.text == "x" * 100_000_000
    status = Path(f"/proc/{own.process.pid}/status").read_text()
    assert int(status.partition("VmHWM:")[2].split()[0]) < 40_000


def test_output_that_is_not_utf_8_is_replaced(shell: Driver) -> None:
    shell.turn(r"printf 'a\xffb\xe2'; printf '\x82\xac \xe2'")
    assert shell.output == "a\ufffdb€ \ufffd"


def test_descriptors_of_the_worker_are_not_a_command_s(shell: Driver) -> None:
    shell.turn("ls -l /proc/self/fd")
    entries = dict(re.findall(r"(\d+) -> (\S+)", shell.output))
    assert entries.pop("0") == "/dev/null"
    assert entries.pop("1") == entries.pop("2")
    assert re.fullmatch(r"/proc/\d+/fd", entries.pop("3"))  # the folder that ls reads
    assert entries == {}


def test_a_command_has_nothing_of_the_worker_in_its_shell(shell: Driver) -> None:
    shell.turn("echo $0 $# ${BASH_ENV-none} $SHLVL $ROOST_SESSION")
    assert shell.output == f"bash 0 none {int(os.environ.get('SHLVL', 0)) + 1} s-test\n"
    shell.turn("true | yes | head -1")
    assert shell.output == "y\n"  # SIGPIPE ends yes quietly


@pytest.mark.parametrize("options", ["set -eu", "set -x", "set -C", "set -o posix", "exec 2>&-", "umask 777"])
def test_shell_options_do_not_hide_the_state(options: str, shell: Driver) -> None:
    assert ending(shell.turn(f"{options}; export A=1")) == ("completed", 0)
    assert shell.output in ("", "+ export A=1\n+ A=1\n")
    shell.turn("echo $A")
    assert shell.output == "1\n"


def test_bash_env_is_the_user_s_own(shell: Driver, tmp_path: Path) -> None:
    (tmp_path / "it's.sh").write_text("echo sourced\n")
    shell.turn('export BASH_ENV="$PWD/it\'s.sh"')
    shell.turn("bash -c 'echo inner'")
    assert shell.output == "sourced\nsourced\ninner\n"
    shell.turn("unset BASH_ENV")
    shell.turn("echo $BASH_ENV")
    assert shell.output == "\n"


@pytest.mark.parametrize(("line", "why"), [("echo a\0b", "null byte"), ("#" * 131_072, "too long")])
def test_a_line_that_cannot_be_run_fails_with_the_reason(line: str, why: str, shell: Driver) -> None:
    answer = shell.turn(line)
    assert answer["status"] == "failed" and why in answer["message"]
    assert ending(shell.turn("echo fine")) == ("completed", 0)


def test_a_cancel_ends_the_command_and_its_children(shell: Driver) -> None:
    running = shell.start("export A=1; sleep 1000 & echo $!; wait")
    shell.wait_until(lambda: shell.output.endswith("\n"))
    child = os.pidfd_open(int(shell.output))
    shell.cancel()
    assert shell.answer(running)["status"] == "cancelled"
    wait_gone(child)
    assert [item.state for item in shell.items.values()] == ["cancelled"]
    shell.turn("echo $A")
    assert shell.output == "1\n"


@pytest.mark.parametrize(
    "line",
    [
        "trap '' TERM; echo $$; while :; do sleep 1000; done",
        "(trap '' TERM; echo $BASHPID; while :; do sleep 1000; done) & wait",
        "(trap '' TERM; echo $BASHPID; exec >/dev/null 2>&1; while :; do sleep 1000; done) & wait",
    ],
)
def test_what_ignores_the_cancel_is_killed_after_its_grace(line: str, shell: Driver) -> None:
    running = shell.start(line)
    shell.wait_until(lambda: shell.output.endswith("\n"))
    stubborn = os.pidfd_open(int(shell.output))
    begun = time.monotonic()
    shell.cancel()
    assert shell.answer(running)["status"] == "cancelled"
    assert time.monotonic() - begun > 1.9
    wait_gone(stubborn)
    assert ending(shell.turn("echo next")) == ("completed", 0)


def test_a_cancel_spares_the_jobs_of_earlier_turns(shell: Driver, tmp_path: Path) -> None:
    gate, answer = Gate(tmp_path / "gate"), Gate(tmp_path / "answer")
    shell.turn("{ read line <gate; echo $line >answer; } &")
    running = shell.start("echo on; sleep 1000")
    shell.wait_output("on")
    shell.cancel()
    shell.answer(running)
    gate.open("alive")
    assert answer.wait() == "alive\n"


def test_when_stdin_closes_commands_end_though_they_ignore_sigterm(own: Driver) -> None:
    """After `kill -9` of roostd nobody else would end them: the running one, and the job of an earlier turn."""
    own.turn("(trap '' TERM; exec >/dev/null 2>&1; while :; do sleep 1000; done) & echo $!")
    job = os.pidfd_open(int(own.output))
    own.start("trap '' TERM; echo $$; while :; do sleep 1000; done")
    own.wait_until(lambda: own.output.endswith("\n"))
    running = os.pidfd_open(int(own.output))
    own.stdin.close()
    wait_gone(running)
    wait_gone(job)
    own.wait_exit()


def test_without_bash_sh_runs_the_line(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "sh").symlink_to("/bin/sh")
    with Driver(SHELL, tmp_path, PATH=str(tools)) as shell:
        shell.initialize()
        assert ending(shell.turn("export A=1; cd bin; echo $0; exit 3")) == ("failed", 3)
        assert shell.output == "sh\n"
        shell.turn("echo $A; pwd")
        assert shell.output == f"1\n{tools}\n"


def test_without_any_shell_the_turn_says_so(tmp_path: Path) -> None:
    with Driver(SHELL, tmp_path, PATH=str(tmp_path)) as shell:
        shell.initialize()
        answer = shell.turn("true")
        assert answer["status"] == "failed"
        assert "the command cannot be started: [Errno 2] No such file or directory: 'sh'" in answer["message"]
