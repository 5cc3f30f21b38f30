"""Subscribers: some that see all, slow ones, some that come and go, and some that are stopped for a while."""

import random
import signal
import subprocess
import sys
from collections.abc import Callable

import trio

from roost.client import aio
from roost.protocol.errors import SessionNotFound

from ..peers import ROOT
from .ledger import Event, Sequence
from .lives import AGAIN, GONE, Daemon

SLOWLY = 0.05
"""Seconds that a slow one takes for one event."""
STOPPED = (0.5, 10.0)
"""Seconds for which one is stopped, from and to."""


async def follow(daemon: Daemon, sequence: Sequence, seen: Callable[[Event], None], pause: float = 0.0) -> None:
    """All events behind ``sequence``, through all lives of the daemon, for ever."""
    while True:
        await daemon.up.wait()
        try:
            async with aio.connect(daemon.socket, name="follower") as client:
                async for event in client.events(after=sequence.again()):
                    if sequence.see(event):
                        seen(event)
                    if pause:
                        await trio.sleep(pause)
        except GONE:
            pass
        await trio.sleep(AGAIN)


class Visitors:
    """Each subscribes somewhere in the near past, reads some events, leaves, and comes again."""

    def __init__(self, daemon: Daemon, auditor: Sequence) -> None:
        self.visits = 0
        self.count = 0
        self._daemon = daemon
        self._auditor = auditor

    async def come_and_go(self) -> None:
        while True:
            await self._daemon.up.wait()
            try:
                async with aio.connect(self._daemon.socket, name="visitor") as client:
                    with trio.move_on_after(random.uniform(0.1, 5)):
                        await self._visit(client, random.randint(1, 1_000))
            except (*GONE, SessionNotFound):
                pass
            await trio.sleep(random.uniform(0, 2))

    async def _visit(self, client: aio.Client, most: int) -> None:
        session = random.choice([None, *self._auditor.seqs])
        last = self._auditor.seqs[session] if session else self._auditor.after
        sequence = Sequence("a visitor", "seq" if session else "offset", max(0, last - random.randint(0, 500)))
        self.visits += 1
        async for event in client.events(session, after=sequence.after):
            sequence.see(event)
            self.count += 1
            if sequence.count >= most:
                return


class Sleeper:
    """A subscriber in a process of its own, stopped and continued again and again."""

    def __init__(self, daemon: Daemon) -> None:
        self.count = 0
        self._daemon = daemon
        self._process: subprocess.Popen[str]

    def start(self) -> None:
        command, pipe = [sys.executable, "-m", "bench.soak.reader", self._daemon.socket], subprocess.PIPE
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)

    async def stop_and_go(self) -> None:
        while True:
            for sig in (signal.SIGSTOP, signal.SIGCONT):
                self._process.send_signal(sig)
                await trio.sleep(random.uniform(*STOPPED))

    async def finish(self, offset: int, seconds: float) -> None:
        """Have it read up to ``offset``; what it did wrong is a problem."""
        self._process.send_signal(signal.SIGCONT)
        assert self._process.stdin is not None
        try:
            said, _ = await trio.to_thread.run_sync(lambda: self._process.communicate(f"{offset}\n", seconds))
        except subprocess.TimeoutExpired:
            self._daemon.problems.append(f"a stopped subscriber did not reach event {offset} within {seconds:g} s")
            return
        if self._process.returncode or not said.strip().isdigit():
            self._daemon.problems.append(f"a stopped subscriber ended: {said.strip() or self._process.returncode}")
        else:
            self.count = int(said)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
