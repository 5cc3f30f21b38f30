"""The end of a worker, step by step. It is a real one; only the clock is the test's, and jumps over the waits."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from helpers.children import SOCKET, alive, until
from helpers.engine import DEADLINE, Listening, launch, started
from helpers.engines import diary
from roost.daemon.engines import catalogue
from roost.daemon.engines.engine import Engine, Grace
from roost.daemon.process.processes import Processes

GRACE = Grace(start=100.0, stop=1000.0, term=1000.0)
"""Longer than any test: a step comes because it is due, or because the test lets the time pass."""


class Diary:
    """A diary worker and what it has met."""

    def __init__(self, folder: Path, answer: str, last: str) -> None:
        self._file = folder / "diary"
        self._file.touch()
        self.engine = catalogue.engine(
            launch(folder, diary(self._file, answer, last)), Listening(), GRACE, Processes(SOCKET)
        )

    @property
    def met(self) -> list[str]:
        return self._file.read_text().split()

    async def wait_met(self, step: str) -> None:
        await until(lambda: step in self.met, within=DEADLINE)


@asynccontextmanager
async def ending(folder: Path, answer: str, last: str) -> AsyncGenerator[Diary]:
    """A worker that was ready and is being ended."""
    worker = Diary(folder, answer, last)
    async with trio.open_nursery() as nursery:
        await nursery.start(started, worker.engine)
        nursery.start_soon(worker.engine.end)
        yield worker
        await until(worker.engine.gone.is_set, within=DEADLINE)
    assert worker.engine.problem is None


@pytest.fixture
def clock(mock_clock: trio.testing.MockClock) -> trio.testing.MockClock:
    """It goes as any other, until it jumps."""
    mock_clock.rate = 1.0
    return mock_clock


async def test_a_worker_is_asked_and_no_more_if_it_ends(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with ending(tmp_path, "yes", "shutdown") as worker:
        pass
    assert worker.met == ["initialize", "shutdown"]


@pytest.mark.parametrize("answer", ["yes", "not_supported", "method_not_found"])
async def test_whatever_it_answers_its_stdin_ends_at_once_and_it_has_time(
    tmp_path: Path, clock: trio.testing.MockClock, answer: str
) -> None:
    async with ending(tmp_path, answer, "EOF") as worker:
        pass
    assert worker.met == ["initialize", "shutdown", "EOF"], "no signal"


@pytest.mark.parametrize("answer", ["silence", "rubbish"])
async def test_without_an_answer_its_stdin_ends_after_half_of_the_time(
    tmp_path: Path, clock: trio.testing.MockClock, answer: str
) -> None:
    async with ending(tmp_path, answer, "EOF") as worker:
        await worker.wait_met("shutdown")
        clock.jump(GRACE.stop / 2)
    assert worker.met == ["initialize", "shutdown", "EOF"], "no signal"


async def test_one_that_ends_by_nothing_meets_each_step_in_its_order(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    async with ending(tmp_path, "silence", "SIGKILL") as worker:
        for step, seconds in (("shutdown", GRACE.stop / 2), ("EOF", GRACE.stop / 2), ("SIGTERM", GRACE.term)):
            await worker.wait_met(step)
            assert worker.met[-1] == step
            pid = worker.engine.pid
            assert pid is not None and alive(pid)
            clock.jump(seconds)
    assert worker.met == ["initialize", "shutdown", "EOF", "SIGTERM"]


async def test_one_that_is_not_ready_cannot_be_asked_and_is_told_at_once(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    worker = Diary(tmp_path, "mute", "SIGTERM")
    async with trio.open_nursery() as nursery:
        start = nursery.start_soon
        start(_not_ready, worker.engine)
        await worker.wait_met("initialize")
        start(worker.engine.end)
        await until(worker.engine.gone.is_set, within=DEADLINE)
    assert "SIGTERM" in worker.met and "shutdown" not in worker.met


async def _not_ready(engine: Engine) -> None:
    with pytest.raises(Exception, match="was ended"):
        await engine.serve(trio.sleep_forever)
