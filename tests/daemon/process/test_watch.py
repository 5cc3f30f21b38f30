"""One task for many descriptors: each is told once, none twice, and what is forgotten never."""

import os
from collections.abc import Iterator
from functools import partial

import pytest
import trio
import trio.testing

from roost.daemon.process.watch import Watch


class Pipe:
    def __init__(self) -> None:
        self.read, self.write = os.pipe()

    def close(self) -> None:
        for descriptor in {self.read, self.write} - {-1}:
            os.close(descriptor)

    def hang_up(self) -> None:
        os.close(self.write)
        self.write = -1


@pytest.fixture
def pipes() -> Iterator[list[Pipe]]:
    pipes = [Pipe() for _ in range(3)]
    yield pipes
    for pipe in pipes:
        pipe.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked(0.01)


async def test_each_is_told_once(pipes: list[Pipe]) -> None:
    watch = Watch()
    told: list[int] = []
    for number, pipe in enumerate(pipes):
        watch.when_readable(pipe.read, partial(told.append, number))
    os.write(pipes[1].write, b"x")
    pipes[2].hang_up()
    await settled()
    assert sorted(told) == [1, 2]
    os.write(pipes[1].write, b"more")
    await settled()
    assert sorted(told) == [1, 2]
    watch.when_readable(pipes[1].read, lambda: told.append(7))  # asked again, with something there
    await settled()
    assert sorted(told) == [1, 2, 7]


async def test_what_is_forgotten_is_not_told(pipes: list[Pipe]) -> None:
    watch = Watch()
    told: list[str] = []

    def first() -> None:
        told.append("first")
        watch.forget(pipes[1].read)

    def second() -> None:
        told.append("second")
        watch.forget(pipes[0].read)

    watch.when_readable(pipes[0].read, first)
    watch.when_readable(pipes[1].read, second)
    for pipe in pipes[:2]:
        os.write(pipe.write, b"x")
    await settled()
    assert len(told) == 1  # one of the two forgets the other, that was ready as well


async def test_a_number_that_is_used_again_is_another_descriptor(pipes: list[Pipe]) -> None:
    watch = Watch()
    told: list[str] = []
    number = pipes[0].read
    watch.when_readable(number, lambda: told.append("old"))
    watch.forget(number)
    os.dup2(pipes[1].read, number)
    watch.when_readable(number, lambda: told.append("new"))
    os.write(pipes[1].write, b"x")
    await settled()
    assert told == ["new"]


async def test_it_holds_a_descriptor_only_while_something_is_watched(pipes: list[Pipe]) -> None:
    watch, before = Watch(), descriptors()
    for _ in range(2):
        watch.when_readable(pipes[0].read, lambda: None)
        await settled()
        assert descriptors() == before + 1
        watch.forget(pipes[0].read)
        watch.forget(pipes[0].read)
        await settled()
        assert descriptors() == before


async def test_kept_it_needs_no_descriptor_when_something_is_to_be_watched(pipes: list[Pipe]) -> None:
    watch, before = Watch(), descriptors()
    watch.keep()
    assert descriptors() == before + 1
    watch.when_readable(pipes[0].read, lambda: None)
    watch.forget(pipes[0].read)
    await settled()
    assert descriptors() == before + 1


async def test_a_bug_in_what_is_called_stops_no_other(pipes: list[Pipe], caplog: pytest.LogCaptureFixture) -> None:
    watch = Watch()
    told: list[int] = []
    watch.when_readable(pipes[0].read, lambda: told[99])
    watch.when_readable(pipes[1].read, lambda: told.append(1))
    for pipe in pipes[:2]:
        os.write(pipe.write, b"x")
    await settled()
    assert told == [1] and "IndexError" in caplog.text
