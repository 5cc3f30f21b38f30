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


@pytest.mark.parametrize(
    "prompt", ["rm -rf ./*", "cd .. && rm -rf ./*", "cd $HOME", "cd ..; ls", "cd ..\nls", "cd `ls`"]
)
def test_in_a_directory_that_is_gone_nothing_is_run(tmp_path: Path, prompt: str) -> None:
    """Run in the workspace instead, it would empty that."""
    (tmp_path / "precious").touch()
    with Driver(SHELL, tmp_path) as shell:
        shell.initialize()
        before = shell.turn("mkdir build; cd build; rmdir ../build")["state"]
        shell.said.clear()
        answer = shell.turn(prompt)
        assert (answer["status"], answer["state"]) == ("failed", before)
        why = (
            f"the working directory {tmp_path}/build cannot be entered (No such file or directory), and nothing was run"
        )
        assert answer["message"].startswith(why) and f"cd {tmp_path}" in answer["message"]
        assert (tmp_path / "precious").exists() and shell.said == []


@pytest.mark.parametrize(
    ("prompt", "there"),
    [
        ("cd ..", ""),
        ("cd -- '../sub'", "/sub"),
        ('cd -P "../sub"', "/sub"),
        ("  cd -L ../sub/  ", "/sub"),
        ("cd -", ""),
    ],
)
def test_a_directory_that_is_gone_can_be_left(tmp_path: Path, prompt: str, there: str) -> None:
    (tmp_path / "sub").mkdir()
    with Driver(SHELL, tmp_path) as shell:
        shell.initialize()
        shell.turn("mkdir build; cd build; rmdir ../build")
        assert shell.turn(prompt)["status"] == "completed"
        shell.turn("pwd")
        assert shell.output.splitlines()[-1] == f"{tmp_path}{there}"


def test_leaving_for_home_or_by_an_absolute_path(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with Driver(SHELL, tmp_path, HOME=str(home)) as shell:
        shell.initialize()
        for prompt, there in (("cd", home), ("cd ~", home), (f"cd {tmp_path}", tmp_path)):
            shell.turn(f"mkdir -p {tmp_path}/build; cd {tmp_path}/build; rmdir {tmp_path}/build")
            assert shell.turn(prompt)["state"]["cwd"] == str(there)


def test_a_cd_to_nowhere_leaves_all_as_it_was(tmp_path: Path) -> None:
    with Driver(SHELL, tmp_path) as shell:
        shell.initialize()
        before = shell.turn("mkdir build; cd build; rmdir ../build")["state"]
        answer = shell.turn("cd ../neither")
        assert (answer["status"], answer["state"]) == ("failed", before)
        (tmp_path / "build").mkdir()
        assert shell.turn("touch here")["status"] == "completed" and (tmp_path / "build" / "here").exists()


def test_a_workspace_that_is_gone_fails_the_turn(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    with Driver(SHELL, workspace) as shell:
        shell.initialize()
        workspace.rmdir()
        answer = shell.turn("pwd")
        assert answer["status"] == "failed"
        assert f"the working directory {workspace} cannot be entered" in answer["message"]
        assert answer["message"].endswith("or go to another: cd DIRECTORY")
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
