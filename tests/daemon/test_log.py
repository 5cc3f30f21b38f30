"""The log never holds the daemon: what its reader does not take is dropped, and that is said."""

import logging
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import pytest

from helpers.daemon import Daemon, wait_until
from roost.daemon.log import Log


@pytest.fixture
def pipe() -> Generator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("roost", logging.INFO, __file__, 1, message, None, None)


def test_a_reader_who_reads_gets_every_line(pipe: tuple[int, int]) -> None:
    log = Log(pipe[1])
    for line in ("one", "two \udcff", "x" * 10000):
        log.emit(record(line))
    assert os.read(pipe[0], 20000).decode() == "one\ntwo \\udcff\n" + "x" * 10000 + "\n"


def test_a_reader_who_does_not_costs_lines_and_is_told_how_many(pipe: tuple[int, int]) -> None:
    log = Log(pipe[1])
    for _ in range(100):
        log.emit(record("y" * 4095))
    kept = os.read(pipe[0], 1 << 20).count(b"\n")
    assert 0 < kept < 100
    log.emit(record("again"))
    assert os.read(pipe[0], 1 << 20).decode().splitlines() == [
        f"{100 - kept} lines of this log were not taken by its reader",
        "again",
    ]


def test_a_daemon_whose_log_nobody_reads_serves_on(tmp_path: Path) -> None:
    """As in ``roostd 2>&1 | less``, or with a journal that is stopped."""
    daemon = Daemon(tmp_path / "s", "[daemon]\nlog_level = 'debug'\n")
    reading, writing = os.pipe()
    try:
        _fill(writing)
        command = [sys.executable, "-m", "roost.daemon"]
        daemon.process = subprocess.Popen(command, env=daemon.environ, stderr=writing, start_new_session=True)
        wait_until(daemon._serves, "it serves")  # pyright: ignore[reportPrivateUsage]
        assert daemon.run(daemon.create(), "echo hello")["state"] == "completed"
        assert daemon.stop() == 0
    finally:
        os.close(reading)
        os.close(writing)
        daemon.close()


def _fill(descriptor: int) -> None:
    os.set_blocking(descriptor, False)
    with suppress(BlockingIOError):
        while os.write(descriptor, b"z"):
            pass
    os.set_blocking(descriptor, True)
