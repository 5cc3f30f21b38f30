"""`make bench` runs: every number is measured, beside its yardstick; what cannot be measured is said, never judged."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROWS = [
    "session.get round trip, one core, p50",
    "session.get round trip, one core, p99",
    "session.get, 64 in flight, one core",
    "session.list of",
    "roost ls, whole process",
    "daemon.stats of",
    "the longest wait of another client meanwhile",
    "child -> commit -> subscriber at 1,000/s, p50",
    "child -> commit -> subscriber at 1,000/s, p99",
    "durable events,",
    "deliveries to",
    "turn.send one after another on",
    "turn.send pipelined",
    "SIGTERM with",
    "RSS of roostd",
    "PSS of a built-in worker",
    "built-in worker ready",
    "context switches",
    "children of sleep through process/: start",
    "children of sleep through process/: loop late by, start",
    "children of sleep through process/: stop",
    "a child that exits at once",
    "survivors of the stop of a child that started two",
    "children after kill -9 and a new start",
]
ALONE = [
    "context switches",
    "children of sleep through process/: loop late by",
    "a child that exits at once",
    "survivors of the stop of a child that started two",
    "children after kill -9 and a new start",
]
"""What no bare program does, or each of them perfectly."""


def bench(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """The benchmark at its smallest: its figures mean nothing, but all of it runs."""
    command = [sys.executable, "-m", "bench", "--small", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, timeout=120, check=False
    )


def test_every_number_is_measured_beside_its_yardstick() -> None:
    done = bench("--only", "ours")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not measured" not in done.stdout
    table = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in table[0]] == ["what", "roost", "yardstick", "ratio", "goal", "reached", "peers"]
    assert [row for row in ROWS if not any(row in cells[0] for cells in table)] == []
    beside = [cells for cells in table[2:] if not any(row in cells[0] for row in ALONE)]
    assert [cells[0] for cells in beside if not (re.search(r"\d", cells[2]) and re.search(r"\d", cells[3]))] == []


def test_many_workers_start_answer_and_end() -> None:
    done = bench("thousand")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 live workers of 4 sessions" in done.stdout and "exit status 0" in done.stdout


def test_a_daemon_that_dies_at_its_start_shows_its_log(tmp_path: Path) -> None:
    start = "import sys, pathlib, bench.roostd as b; b.Roostd(pathlib.Path(sys.argv[1]), 'no_such = 1').__enter__()"
    done = subprocess.run(
        [sys.executable, "-c", start, str(tmp_path / "s")], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert "RuntimeError: roostd did not start: " in done.stderr
    _, told, log = done.stderr.partition("the log of roostd:\n")
    assert told and log == (tmp_path / "s" / "log").read_text() + "\n"


def test_a_measurement_that_breaks_is_said_and_the_others_are_made(tmp_path: Path) -> None:
    (tmp_path / "roost").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "roost").chmod(0o755)
    done = bench("--only", "looks", "--command", str(tmp_path / "roost"))
    assert done.returncode == 1
    assert "not measured: CalledProcessError" in done.stdout
    assert "daemon.stats of" in done.stdout


def test_peers_that_cannot_be_installed_are_not_run_and_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = bench("--only", "peers", "--environments", str(tmp_path / "file"))
    assert done.returncode == 0, done.stderr
    for peer in ("circus", "supervisord", "tractor"):
        assert f"{peer}: not run: " in done.stdout


def test_a_peer_that_pip_refuses_says_why(tmp_path: Path) -> None:
    install = "import pathlib, sys; from bench import peers;"
    install += "peers.install(peers.PEERS[0], pathlib.Path(sys.executable))"
    done = subprocess.run(
        [sys.executable, "-c", install],
        cwd=ROOT,
        env={**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_TARGET": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stderr.splitlines()[-1].startswith(
        "bench.peers.NotRun: ERROR: No matching distribution found for circus"
    )
