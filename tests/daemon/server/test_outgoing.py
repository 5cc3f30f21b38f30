"""Bytes reach a client in order, at once if it takes them, and in bounds if it does not."""

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from roost.daemon.server import outgoing
from roost.daemon.server.outgoing import UNSENT, Outgoing


class Pair:
    """A sender, the raw socket it sends to, and what it told."""

    def __init__(self, nursery: trio.Nursery) -> None:
        mine, self.theirs = socket.socketpair(socket.AF_UNIX)
        mine.setblocking(False)
        self.mine = mine
        self.writers = self.breaks = 0
        self.out = Outgoing(mine, lambda: self.start(nursery), self.broken)

    def start(self, nursery: trio.Nursery) -> None:
        self.writers += 1
        nursery.start_soon(self.out.write)

    def broken(self) -> None:
        self.breaks += 1

    async def receive(self, count: int) -> bytes:
        self.theirs.setblocking(False)
        data = bytearray()
        while len(data) < count:
            await trio.lowlevel.wait_readable(self.theirs)
            data += self.theirs.recv(65536)
        return bytes(data)


@asynccontextmanager
async def pair() -> AsyncGenerator[Pair]:
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            made = Pair(nursery)
            yield made
            nursery.cancel_scope.cancel()
        made.mine.close()
        made.theirs.close()


async def test_what_fits_is_sent_at_once_and_together() -> None:
    async with pair() as p:
        p.out.put(b"one ")
        p.out.put(b"two")
        assert p.out.size == 7
        p.out.flush()
        assert p.theirs.recv(100) == b"one two"
        assert (p.out.size, p.out.blocked, p.writers) == (0, False, 0)


async def test_what_does_not_fit_is_sent_by_a_writer_in_order() -> None:
    async with pair() as p:
        data = bytes(range(256)) * 8192
        p.out.put(data)
        p.out.flush()
        assert p.out.blocked and 0 < p.out.size < len(data) and p.writers == 1
        p.out.put(b"last")
        p.out.flush()
        assert p.writers == 1
        assert await p.receive(len(data) + 4) == data + b"last"
        await p.out.wait_sent()
        assert (p.out.size, p.out.blocked) == (0, False)
        p.out.put(data)
        p.out.flush()
        assert p.writers == 2


async def test_who_wants_to_send_waits_for_room() -> None:
    async with pair() as p:
        data = b"x" * (2 * UNSENT)
        p.out.put(data)
        async with trio.open_nursery() as nursery:
            sizes: list[int] = []

            async def waiter() -> None:
                await p.out.wait_room()
                sizes.append(p.out.size)

            nursery.start_soon(waiter)
            await trio.testing.wait_all_tasks_blocked()
            assert sizes == [] and p.out.blocked
            await p.receive(len(data))
        assert sizes[0] <= UNSENT


async def test_a_client_that_is_gone_is_told_of_and_nothing_is_kept() -> None:
    async with pair() as p:
        p.theirs.close()
        p.out.put(b"x" * 100)
        p.out.flush()
        assert (p.out.size, p.breaks) == (0, 1)


async def test_a_client_that_leaves_while_the_writer_waits_is_told_of() -> None:
    async with pair() as p:
        p.out.put(b"x" * (2 * UNSENT))
        p.out.flush()
        assert p.out.blocked
        p.theirs.close()
        await p.out.wait_sent()
        assert (p.out.size, p.breaks) == (0, 1)


async def test_a_client_that_takes_nothing_for_a_day_is_cut_off_and_one_that_takes_some_is_not(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    monkeypatch.setattr(outgoing, "STALLED", 4.0)
    async with pair() as p:
        p.out.put(bytes(4 * 1024 * 1024))
        p.out.flush()
        await trio.sleep(3)
        assert len(p.theirs.recv(256 * 1024)) > 0
        await trio.sleep(3)
        assert (p.breaks, p.out.blocked) == (0, True)
        await trio.sleep(4)
        assert (p.breaks, p.out.blocked, p.out.size) == (1, False, 0)
        await p.out.wait_sent()
