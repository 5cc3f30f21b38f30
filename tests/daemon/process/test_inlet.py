"""One pipe of a child: all of it, in order, and no task while there is nothing to read."""

import os
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from roost.daemon.process.inlet import Inlet
from roost.daemon.process.watch import Watch


class Piped:
    """An inlet, and the end of the pipe that a child would have."""

    def __init__(self) -> None:
        self.ours, self.theirs = os.pipe()
        os.set_blocking(self.ours, False)
        self.taken: list[bytes] = []
        self.enough = False
        self.watch = Watch()

    async def take(self, piece: bytes) -> bool:
        await trio.lowlevel.checkpoint()
        self.taken.append(piece)
        return self.enough

    def inlet(self, nursery: trio.Nursery) -> Inlet:
        return Inlet(self.ours, self.watch, nursery.start_soon, self.take)

    def write(self, data: bytes) -> None:
        os.write(self.theirs, data)

    def hang_up(self) -> None:
        os.close(self.theirs)
        self.theirs = -1


@pytest.fixture
def piped() -> Iterator[Piped]:
    piped = Piped()
    yield piped
    for descriptor in (piped.ours, piped.theirs):
        if descriptor >= 0:
            os.close(descriptor)


async def settled() -> None:
    await trio.testing.wait_all_tasks_blocked(0.01)


async def test_no_task_waits_while_there_is_nothing_to_read(piped: Piped, nursery: trio.Nursery) -> None:
    with piped.inlet(nursery) as inlet:
        for piece in (b"one", b"two"):
            piped.write(piece)
            await settled()
            assert piped.taken[-1] == piece and not nursery.child_tasks
        piped.hang_up()
        await inlet.wait_ended()
    assert piped.taken == [b"one", b"two", b""]


async def test_a_flood_is_taken_whole_and_lets_others_run(piped: Piped, nursery: trio.Nursery) -> None:
    sent = os.urandom(1_000_000)
    turns = 0

    async def flood() -> None:
        os.set_blocking(piped.theirs, False)
        stream = trio.lowlevel.FdStream(os.dup(piped.theirs))
        async with stream:
            await stream.send_all(sent)
        piped.hang_up()

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    with trio.fail_after(10), piped.inlet(nursery) as inlet:
        nursery.start_soon(flood)
        nursery.start_soon(other)
        await inlet.wait_ended()
    nursery.cancel_scope.cancel()
    assert b"".join(piped.taken) == sent
    assert turns > len(piped.taken)


async def test_who_wants_no_more_gets_no_more(piped: Piped, nursery: trio.Nursery) -> None:
    piped.enough = True
    with piped.inlet(nursery) as inlet:
        piped.write(b"one")
        await inlet.wait_ended()
        piped.write(b"two")
        await settled()
    assert piped.taken == [b"one"]


async def test_left_while_a_piece_is_taken_it_watches_nothing_any_more(piped: Piped, nursery: trio.Nursery) -> None:
    """Else the next descriptor with that number would be taken for this one."""
    with piped.inlet(nursery):
        piped.write(b"one")
        while not nursery.child_tasks:
            await trio.lowlevel.checkpoint()
    await settled()
    piped.write(b"two")
    await settled()
    assert piped.taken == [b"one"] and not nursery.child_tasks
