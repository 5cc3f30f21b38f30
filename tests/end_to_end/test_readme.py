"""What the README shows is what happens: its commands are run, its settings are read, its worker works."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from helpers.daemon import DEADLINE, pids_with
from roost.daemon.settings import load

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^## (?P<title>.+?)$|^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S)


def blocks(kind: str) -> dict[str, str]:
    """The code of one kind under each heading of the README."""
    title, found = "", dict[str, str]()
    for match in FENCE.finditer((ROOT / "README.md").read_text()):
        title = match["title"] or title
        if match["kind"] == kind:
            found[title] = found.get(title, "") + match["text"]
    return found


@pytest.fixture
def home(tmp_path: Path) -> Generator[dict[str, str]]:
    """The environment of a new user in an empty home folder, with roost installed; what was started is ended."""
    environ = {
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "LC_ALL": "C.UTF-8",
    }
    socket = tmp_path / ".local/state/roost/run/roost.sock"
    yield environ
    subprocess.run(["roost", "--no-start", "daemon", "stop"], env=environ, check=False, capture_output=True)
    for pid in pids_with(f"ROOST_DAEMON={socket}") | pids_with(f"HOME={tmp_path}"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def run(script: str, cwd: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euc", script],
        cwd=cwd,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE,
        check=False,
    )


def test_the_commands_of_the_first_use(home: dict[str, str], tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "Makefile").write_text("test:\n\t@echo tested\nall:\n\t@echo all made\n")
    subprocess.run(["git", "init", "-q", str(project)], env=home, check=True)
    script = blocks("sh")["A first real use"]
    assert script.count("roost ") >= 6
    done = run(script.replace("roost attach", "roost wait work; roost attach"), project, home)
    assert done.returncode == 0, done.stderr
    assert "tested" in done.stdout and "all made" in done.stdout and "work" in done.stdout


def test_make_demo_and_make_test_are_there() -> None:
    """CI runs ``make test``; the demo has a test of its own."""
    for line in blocks("sh")["Try it"].splitlines():
        target = line.split()[1]
        assert subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_the_settings_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "roost.toml"
    path.write_text(blocks("toml")["A first real use"])
    engines = load({"HOME": str(tmp_path), "ROOST_CONFIG": str(path)}).engines
    assert (engines["assistant"].kind, engines["lint"].kind) == ("worker", "command")


def test_the_worker_works(home: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "assistant.py").write_text(blocks("python")["Write a worker"])
    config = tmp_path / ".config/roost/roost.toml"
    config.parent.mkdir(parents=True)
    command = f'["{sys.executable}", "{tmp_path}/assistant.py"]'
    config.write_text(f'[engines.assistant]\nkind = "worker"\ncommand = {command}\n')
    script = """
        roost new -e assistant --name a
        roost send -w a one
        roost stop a
        roost send -w a two
    """
    done = run(script, tmp_path, home)
    assert "prompt 1 was: one" in done.stdout and "prompt 2 was: two" in done.stdout, done.stderr


def test_every_page_that_is_named_is_there() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / link).exists(), link


def test_the_units_are_put_where_the_page_says() -> None:
    """tests/end_to_end/test_systemd.py starts what these lines put in place under a real systemd."""
    script = blocks("sh")["Under systemd"]
    for name in re.findall(r"systemd/(\S+\.\w+)", script):
        assert (ROOT / "systemd" / name).is_file()
