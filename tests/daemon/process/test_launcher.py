"""What enters the cgroup and lowers the limit before the program is there, and keeps its hands off all the rest."""

import ast
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.cgroups import scratch
from roost.daemon.process.launcher import launcher, refusal, resolved

PYTHON = os.path.realpath(sys.executable)
ODD = ["A.B"]
"""A variable's name that a shell loses."""
ARGUMENTS = ["", " ", "two words", "new\nline", "$HOME", "`id`", "-n", "--", "'", '"', "\\", "*", "é", "\udcff"]


@pytest.fixture
def cgroup() -> Iterator[Path]:
    with scratch() as folder:
        yield folder


def run(command: list[str], **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, errors="surrogateescape", env=env, timeout=30)


def python(code: str, *arguments: str) -> list[str]:
    return [PYTHON, "-S", "-E", "-c", code, *arguments]


def test_with_nothing_to_do_there_is_no_launcher() -> None:
    assert launcher(("program", "a b"), None, None, names=ODD) == ["program", "a b"]


@pytest.mark.parametrize("names", [[], ODD], ids=["shell", "python"])
def test_the_program_has_the_same_pid_is_in_the_cgroup_and_has_the_limit(cgroup: Path, names: list[str]) -> None:
    tell = "import os, resource\nprint(os.getpid(), resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    tell += "print(open('/proc/self/cgroup').read())"
    command = launcher(python(tell), str(cgroup / "cgroup.procs"), 50, names=names)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        told = process.communicate(timeout=30)[0]
    assert told.startswith(f"{process.pid} (50, 50)\n") and f"/{cgroup.name}\n" in told


@pytest.mark.parametrize("names", [[], ODD], ids=["shell", "python"])
def test_arguments_and_environment_come_through_as_they_are(names: list[str]) -> None:
    code = "import os, sys; print(ascii((sys.argv[1:], sorted(os.environ.items()))))"
    env = {"PLAIN": "a=b\nc d", "_": "x", "LC_ALL": "C.UTF-8", **dict.fromkeys(names, "odd")}
    done = run(launcher(python(code, *ARGUMENTS), None, 50, names=env), **env)
    arguments, variables = ast.literal_eval(done.stdout)
    assert arguments == ARGUMENTS
    added = {"PWD"} if not names else set[str]()  # a shell says where it is
    assert {name: value for name, value in variables if name not in added} == env


@given(st.sampled_from(["IFS", "PWD", "PPID", "OPTIND", "a-b", "1A", "é", "UID", "BASH_FUNC_f%%"]))
def test_what_a_shell_would_lose_or_change_does_not_go_through_one(name: str) -> None:
    assert "/bin/sh" not in launcher(["/bin/true"], None, 50, names=["HOME", name])
    assert launcher(["/bin/true"], None, 50, names=["HOME", "_x1"])[0] == "/bin/sh"


@pytest.mark.parametrize("names", [[], ODD], ids=["shell", "python"])
def test_one_that_cannot_enter_says_so_and_the_program_does_not_run(tmp_path: Path, names: list[str]) -> None:
    procs = str(tmp_path / "gone" / "cgroup.procs")
    done = run(launcher(["/bin/sh", "-c", f"touch {tmp_path}/ran"], procs, None, names=names))
    assert not (tmp_path / "ran").exists()
    why = refusal(done.returncode, done.stderr)
    assert why is not None and why.startswith(f"this child cannot enter its cgroup, by {procs}")


@pytest.mark.parametrize("names", [[], ODD], ids=["shell", "python"])
def test_one_that_cannot_be_limited_says_so(names: list[str]) -> None:
    hardest = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    command = launcher(["/bin/true"], None, 2**31 if os.geteuid() else 2**40, names=names)
    if hardest == resource.RLIM_INFINITY:
        pytest.skip("descriptors have no limit here")
    done = run(command)
    assert "descriptors" in (refusal(done.returncode, done.stderr) or "")


def test_a_programs_own_status_is_no_refusal() -> None:
    done = run(launcher(["/bin/sh", "-c", "echo roost: this is mine >&2; exit 125"], None, 50))
    assert (done.returncode, refusal(done.returncode, done.stderr)) == (125, None)
    assert refusal(1, "roost: this child cannot enter its cgroup") is None
    assert refusal(None, "") is None


def script(path: Path, text: str = "#!/bin/sh\n", mode: int = 0o755) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_program_is_the_one_that_an_exec_finds(tmp_path: Path) -> None:
    script(tmp_path / "a" / "tool", mode=0o644)  # not executable: the next folder is looked in
    second = script(tmp_path / "b" / "tool")
    local = script(tmp_path / "tool")
    path = {"PATH": f"{tmp_path}/none:{tmp_path}/a:{tmp_path}/b"}
    assert resolved("tool", "/", path) == str(second)
    assert resolved(str(local), "/", {}) == str(local)
    assert os.path.samefile(resolved("./tool", str(tmp_path), path), local)
    assert os.path.samefile(resolved("tool", str(tmp_path), {"PATH": ":/bin"}), local)  # empty: the working directory
    assert resolved("sh", "/", {}) in ("/bin/sh", "/usr/bin/sh")  # without a PATH there is the system's


@pytest.mark.parametrize(
    ("program", "kind"),
    [
        ("none", FileNotFoundError),
        ("./none", FileNotFoundError),
        ("", FileNotFoundError),
        (".", FileNotFoundError),
        ("plain", PermissionError),
        ("./plain", PermissionError),
        ("uninterpreted", FileNotFoundError),
    ],
)
def test_what_cannot_be_executed_is_told_beforehand(tmp_path: Path, program: str, kind: type[OSError]) -> None:
    script(tmp_path / "plain", mode=0o644)
    script(tmp_path / "uninterpreted", "#!/no/such/program -x\n")
    with pytest.raises(kind):
        resolved(program, str(tmp_path), {"PATH": str(tmp_path)})


def test_what_cannot_be_read_may_still_be_executed(tmp_path: Path) -> None:
    for text in ("", "#!", "\0ELF"):
        assert resolved("./tool", str(script(tmp_path / "tool", text).parent), {})
