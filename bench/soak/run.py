"""The whole of a soak: lives of the daemon one after another, with everybody at work; then what came of it."""

import signal
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import trio

from . import host
from .growth import Finding, Sample, findings
from .ledger import Ledger, Sequence
from .lives import DEADLINE, Daemon
from .readers import SLOWLY, Sleeper, Visitors, follow
from .work import Work

LIVES = (
    (0.06, signal.SIGKILL),
    (0.06, signal.SIGTERM),
    (0.55, signal.SIGKILL),
    (0.06, signal.SIGTERM),
    (0.06, signal.SIGKILL),
    (0.21, signal.SIGTERM),
)
"""Which share of the whole each life takes, and what ends it."""
SAMPLES = 300
SAMPLE_SECONDS = (0.5, 5.0)
"""How many samples of the whole there are, unless they are nearer or further than this."""


class Plan(NamedTuple):
    """Seconds, counts, and turns a second."""

    seconds: float
    sessions: int = 200
    rate: float = 20.0
    visitors: int = 10
    slow: int = 5
    stopped: int = 4


class Life(NamedTuple):
    seconds: float
    ended: str
    findings: list[Finding]


class Soak:
    """Attributes: ``problems``: sentences, none when all was well. ``lives``: as they were; ``samples`` of each."""

    def __init__(self, directory: Path, plan: Plan) -> None:
        self.plan = plan
        self.daemon = Daemon(directory)
        self.problems = self.daemon.problems
        self.lives: list[Life] = []
        self.ledger = Ledger()
        self.auditor = Sequence("the auditor", "offset", 0)
        self.slow = [Sequence(f"slow subscriber {number}", "offset", 0) for number in range(plan.slow)]
        self.visitors = Visitors(self.daemon, self.auditor)
        self.sleepers = [Sleeper(self.daemon) for _ in range(plan.stopped)]
        self.work = Work(self.daemon, self.ledger, plan.sessions, plan.rate)
        self.samples: list[list[Sample]] = []
        self._samples: list[Sample] = []
        self._begun = False
        self._stopping_and_going = trio.CancelScope()

    async def run(self) -> None:
        """Raises Broken, in a group: a subscriber saw what must not be."""
        with self._processes():
            async with trio.open_nursery() as nursery:
                left: set[host.Process] = set()
                for share, sig in LIVES:
                    serving = await nursery.start(self.daemon.live)
                    self.daemon.left(left)
                    self._begin(nursery)
                    left = await self._live(share * self.plan.seconds, sig, last=len(self.lives) == len(LIVES) - 1)
                    serving.cancel()
                nursery.cancel_scope.cancel()
        self.problems += self.ledger.problems()
        self.problems += [
            f"in a life {found.what} grew" for life in self.lives for found in life.findings if found.grew
        ]

    @contextmanager
    def _processes(self) -> Generator[None]:
        for sleeper in self.sleepers:
            sleeper.start()
        try:
            yield
        finally:
            for sleeper in self.sleepers:
                sleeper.kill()
            self.daemon.end()

    def _begin(self, nursery: trio.Nursery) -> None:
        """Everybody goes to work, once."""
        if self._begun:
            return
        self._begun = True
        nursery.start_soon(self.work.run)
        nursery.start_soon(self._look)
        nursery.start_soon(self._stop_and_go)
        nursery.start_soon(follow, self.daemon, self.auditor, self.ledger.see)
        for sequence in self.slow:
            nursery.start_soon(follow, self.daemon, sequence, lambda event: None, SLOWLY)
        for _ in range(self.plan.visitors):
            nursery.start_soon(self.visitors.come_and_go)

    async def _stop_and_go(self) -> None:
        with self._stopping_and_going:
            async with trio.open_nursery() as nursery:
                for sleeper in self.sleepers:
                    nursery.start_soon(sleeper.stop_and_go)

    async def _look(self) -> None:
        """Take samples, for ever; and ask what a person might ask."""
        nearest, furthest = SAMPLE_SECONDS
        while True:
            await trio.sleep(min(max(self.plan.seconds / SAMPLES, nearest), furthest))
            await self.daemon.call("daemon.stats")
            of = self._samples
            with suppress(OSError, ValueError):  # it is between two lives, gone or a zombie
                pid, socket, database = self.daemon.pid, self.daemon.socket, self.daemon.database
                of.append(await trio.to_thread.run_sync(host.sample, pid, socket, database))

    async def _live(self, seconds: float, sig: signal.Signals, *, last: bool) -> set[host.Process]:
        """One life and its end; what a killed daemon had."""
        begin = time.monotonic()
        with trio.move_on_after(seconds):
            await self.work.wake()
            await trio.sleep_forever()
        found = findings(self._samples)
        self.samples.append(self._samples)
        self._samples = []
        self.work.killing = False
        if last:
            await self._settle()
        if sig == signal.SIGKILL:
            left, ended = self.daemon.kill(), "kill -9"
        else:
            left, ended = set[host.Process](), f"SIGTERM, {await self.daemon.terminate():.1f} s"
        self.work.killing = True
        self.lives.append(Life(time.monotonic() - begin, ended, found))
        return left

    async def _settle(self) -> None:
        """No turn is sent any more: all that was sent ends, and all is seen."""
        self.work.sending = False
        if not await self.daemon.wait(lambda: not self.work.in_flight and not self.ledger.open.total()):
            self.problems.append(f"{self.ledger.open.total()} turns did not end within {DEADLINE:g} s")
        self._stopping_and_going.cancel()
        last = self.auditor.after
        async with trio.open_nursery() as nursery:
            for sleeper in self.sleepers:
                nursery.start_soon(sleeper.finish, last, DEADLINE)
