"""The Makefile's targets: each makes its own environment the first time, with what it needs, and only then."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VENV = ["-m venv .venv", "--editable ."]
TEST = [*VENV, "--group test"]
CHECK = [*TEST, "--group check"]


def steps(tree: Path, target: str, own: str) -> list[str]:
    """What `make TARGET` would do there: which of the steps above, and its own command, in their order."""
    command = ["make", "--dry-run", target]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=60, check=True)
    return list(dict.fromkeys(step for line in done.stdout.splitlines() for step in (*CHECK, own) if step in line))


@pytest.mark.parametrize(
    ("target", "before", "own"),
    [
        ("demo", VENV, ".venv/bin/python tests/end_to_end/demo.py"),
        ("test", TEST, ".venv/bin/pytest"),
        ("check", CHECK, ".venv/bin/ruff format --check"),
        ("bench", TEST, ".venv/bin/python -m bench"),
        ("soak", TEST, ".venv/bin/python -m bench.soak"),
        ("fmt", CHECK, ".venv/bin/ruff format"),
    ],
)
def test_a_target_makes_its_environment_the_first_time(
    tmp_path: Path, target: str, before: list[str], own: str
) -> None:
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    assert steps(tmp_path, target, own) == [*before, own]
    (tmp_path / ".venv").mkdir()
    for stamp in ("run", "test", "check"):
        (tmp_path / ".venv" / f".stamp-{stamp}").touch()
    assert steps(tmp_path, target, own) == [own]
