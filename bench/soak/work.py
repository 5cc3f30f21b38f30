"""What goes on all the time: turns on all sessions, and children that are killed."""

import itertools
import random
from contextlib import suppress

import trio

from roost.protocol.errors import RoostError

from . import host
from .ledger import Ledger
from .lives import AGAIN, Daemon

QUEUED = 3
"""Turns of one session that have not ended; more are not sent."""
ENGINES = {"shell": 70, "thinking": 40, "program": 40, "load": 40, "crashing": 10}
"""Engine → of two hundred sessions."""
PROMPTS = {
    "shell": ["echo said", "seq 200", "sleep 0.3; pwd", "false", "export A=1", "setsid sleep 2 & echo", "(sleep 1 &)"],
    "thinking": ["and then", '{"thought": "", "thought_number": 1}', "so it is"],
    "program": ["echo done", "seq 100", "exit 3", "kill -9 $$", "setsid sleep 2 & sleep 0.1"],
    "load": ["burst 20", "items 5", "tick 5 100", "hang"],
    "crashing": ["try"],
}
HANGING = 1_000
"""Milliseconds after which a turn is cancelled; of those that hang all are."""


class Work:
    """Args: ``rate``: turns a second of all sessions together."""

    def __init__(self, daemon: Daemon, ledger: Ledger, sessions: int, rate: float) -> None:
        self.killed = 0
        self.in_flight = 0
        self.sending = True
        self.killing = True
        self._with_child: list[str] = []
        self._daemon = daemon
        self._ledger = ledger
        self._count = sessions
        self._pause = sessions / rate

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._kill)
            for number, engine in enumerate(itertools.islice(_engines(self._count), self._count)):
                nursery.start_soon(self._session, number, engine)

    async def wake(self) -> None:
        """Start a child for each session that can have one, so that a life is soon what it will be."""
        async with trio.open_nursery() as nursery:
            for session in self._with_child:
                nursery.start_soon(self._wake, session)

    async def _wake(self, session: str) -> None:
        with suppress(RoostError):  # its child was killed in the middle of it
            await self._daemon.call("session.start", session=session)

    async def _session(self, number: int, engine: str) -> None:
        env = {"SCRIPT": 'eval "$0"'}  # what engine `program` runs: its prompt
        wanted = {"engine": engine, "name": f"n{number}", "workspace": str(self._daemon.roostd.directory), "env": env}
        after = {"failed": "continue", "interrupted": "continue", "cancelled": "continue"}
        made = await self._daemon.call("session.create", **wanted, after=after, key=f"session {number}")
        if engine != "crashing":
            self._with_child.append(made["session"]["id"])
        for turn in itertools.count():
            await trio.sleep(random.expovariate(1 / self._pause))
            await self._turn(made["session"]["id"], f"{number} {turn}", random.choice(PROMPTS[engine]))

    async def _turn(self, session: str, key: str, prompt: str) -> None:
        while self._ledger.open[session] >= QUEUED or not self.sending:  # noqa: ASYNC110 - many change what it looks at
            await trio.sleep(self._pause / 10 + AGAIN)
        timeout = {"timeout": HANGING} if prompt == "hang" else {}
        self.in_flight += 1
        sent = await self._daemon.call("turn.send", session=session, input=prompt, key=key, **timeout)
        self._ledger.acknowledged[sent["turn"]["id"]] = session
        self.in_flight -= 1

    async def _kill(self) -> None:
        """One child of the daemon after another, whichever it is."""
        while True:
            await trio.sleep(random.expovariate(1 / max(self._pause / 10, 0.2)))
            if self.killing and self._daemon.up.is_set():
                self.killed += self._kill_one()

    def _kill_one(self) -> int:
        there = host.marked(host.children(host.everything(), self._daemon.pid), self._daemon.socket)
        return int(bool(there) and host.kill(random.choice(there)))


def _engines(count: int) -> "itertools.chain[str]":
    """The engines in their shares, each at least once."""
    shares = [[engine] * max(1, round(share * count / 200)) for engine, share in ENGINES.items()]
    return itertools.chain(*shares, ["shell"] * count)
