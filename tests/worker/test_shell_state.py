"""The worker `shell`: directory and environment as a state that is saved and restored."""

import os
from pathlib import Path
from typing import Any

import pytest

from helpers.worker_driver import SHELL, Driver
from roost.protocol.errors import InternalError


@pytest.fixture(scope="module")
def command() -> list[str]:
    return SHELL


def test_the_state_is_the_directory_and_what_was_changed(tmp_path: Path) -> None:
    with Driver(SHELL, tmp_path, GIVEN="1", SECRET="from the engine", KEPT="1") as shell:
        shell.initialize()
        assert shell.call("state.get") == {"state": {"cwd": str(tmp_path), "env": {}}}
        answer = shell.turn("mkdir sub; cd sub; export NEW=x KEPT=1 ROOST_SESSION=mine; unset GIVEN")
        env = {"NEW": "x", "GIVEN": None, "OLDPWD": str(tmp_path)}
        assert answer["state"] == {"cwd": f"{tmp_path}/sub", "env": env}


def test_a_new_process_goes_on_in_directory_and_environment(tmp_path: Path) -> None:
    with Driver(SHELL, tmp_path, GIVEN="1") as shell:
        shell.initialize()
        state = shell.turn("mkdir sub; cd sub; export NEW='a b' EMPTY= RAW=$'\\xff'; unset GIVEN")["state"]
        assert state["env"]["RAW"] == b"\xff"
    with Driver(SHELL, tmp_path, GIVEN="1", LATER="2") as shell:
        shell.initialize(state=state)
        assert shell.call("checkpoint") == {"state": state}
        shell.turn('pwd; echo "$NEW|${EMPTY-unset}|${GIVEN-unset}|$LATER"; printf "$RAW" | od -An -tx1')
        assert shell.output == f"{tmp_path}/sub\na b||unset|2\n ff\n"


def test_half_a_report_is_not_believed(tmp_path: Path) -> None:
    with Driver(SHELL, tmp_path) as shell:
        shell.initialize()
        before = shell.turn("export LONG=$(printf %5000s x)")["state"]
        # a file may have 1 KiB from here on, the report too
        assert shell.turn("export A=1; ulimit -f 1")["state"] == before
        assert "the shell did not tell" in shell.output


def test_beside_a_variable_too_large_for_a_command_the_directory_is_learnt(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    with Driver(SHELL, tmp_path) as shell:
        shell.initialize()
        before = shell.turn("export A=1")["state"]
        answer = shell.turn("export A=2; cd sub; printf -v LARGE %131072s; export LARGE")
        assert (answer["status"], answer["state"]) == ("completed", before | {"cwd": f"{tmp_path}/sub"})
        [status] = [text for kind, text in shell.said if kind == "status"]
        assert "an exported variable over 128 KiB" in status and "the variables from before the command stay" in status


def test_a_directory_that_is_gone_falls_back_to_the_workspace_and_says_so(tmp_path: Path) -> None:
    with Driver(SHELL, tmp_path) as shell:
        shell.initialize(state={"cwd": f"{tmp_path}/gone", "env": {}})
        shell.turn("pwd; mkdir sub; cd sub; rmdir ../sub")
        why = f"the working directory {tmp_path}/gone cannot be entered (No such file or directory)"
        assert shell.said == [("status", f"{why}; back to the workspace {tmp_path}"), ("command", f"{tmp_path}\n")]
        shell.turn("pwd")
        assert shell.said[1] == ("command", f"{tmp_path}\n")


def test_a_workspace_that_is_gone_fails_the_turn(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    with Driver(SHELL, workspace) as shell:
        shell.initialize()
        workspace.rmdir()
        answer = shell.turn("pwd")
        assert answer["status"] == "failed"
        assert f"the workspace {workspace} cannot be entered" in answer["message"]
        workspace.mkdir()
        assert shell.turn("pwd")["status"] == "completed"


def test_clear_goes_back_to_the_beginning(tmp_path: Path) -> None:
    with Driver(SHELL, tmp_path) as shell:
        shell.initialize()
        shell.turn("export A=1; cd /")
        assert shell.call("state.clear") == {"state": {"cwd": str(tmp_path), "env": {}}}
        shell.turn("echo ${A-unset}; pwd")
        assert shell.output == f"unset\n{tmp_path}\n"


def test_roost_s_own_variables_cannot_be_changed_for_later(tmp_path: Path) -> None:
    with Driver(SHELL, tmp_path) as shell:
        shell.initialize(state={"cwd": str(tmp_path), "env": {"ROOST_SESSION": "s-other", "A": "1"}})
        shell.turn("echo $ROOST_SESSION $A; export ROOST_SESSION=s-mine ROOST_NEW=1")
        assert shell.output == "s-test 1\n"
        shell.turn("echo $ROOST_SESSION ${ROOST_NEW-unset}")
        assert shell.output == "s-test unset\n"


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ([], "not a state of the shell worker"),
        ({"cwd": "/"}, "not a state of the shell worker"),
        ({"cwd": "/", "env": {}, "history": []}, "not a state of the shell worker"),
        ({"cwd": 5, "env": {}}, "cwd must be text or bytes"),
        ({"cwd": "a\0b", "env": {}}, "cwd must be text or bytes without NUL"),
        ({"cwd": "/", "env": {"A": 1}}, "A must be text or bytes"),
        ({"cwd": "/", "env": {"A=B": "x"}}, "a variable named 'A=B'"),
        ({"cwd": "/", "env": {"": "x"}}, "a variable named ''"),
    ],
)
def test_a_state_that_is_not_its_own_is_refused_with_the_reason(state: Any, why: str, fresh: Driver) -> None:
    with pytest.raises(InternalError) as refused:
        fresh.initialize(state=state)
    assert why in refused.value.message


def test_paths_that_are_not_utf_8_survive(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(folder)
    with Driver(SHELL, tmp_path) as shell:
        shell.initialize()
        state = shell.turn("cd ./*")["state"]
        assert state["cwd"] == folder
    with Driver(SHELL, tmp_path) as shell:
        shell.initialize(state=state)
        shell.turn("printf $PWD | tail -c 1 | od -An -tx1")
        assert shell.output == " ff\n"
