"""A daemon that is ended and started again while everybody goes on using it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from roost.client import aio
from roost.protocol.errors import ConnectionLost, DaemonUnreachable, OutcomeUnknown, ShuttingDown

from ..roostd import Roostd
from . import host
from .host import Process

LOST = 9
"""The exit status of a stop at which a child had died before it could be asked for its state."""
AGAIN = 0.05
"""Seconds before a request is tried again that met no daemon."""
DEADLINE = 120.0
SETTINGS = """
[engines.crashing]
command = ["sh", "-c", "echo alas >&2; exit 7"]
[limits]
max_live = 0
[sessions]
idle_unload = "45s"
idle_sweep = "2s"
rearm = "3s"
"""
GONE = (ConnectionLost, DaemonUnreachable, OutcomeUnknown, ShuttingDown)
"""After these the same request, with the same key, is safe to repeat."""


class Daemon:
    """Each life of it is one process. Calls wait for the next life."""

    def __init__(self, directory: Path) -> None:
        self.roostd = Roostd(directory, SETTINGS)
        self.socket = self.roostd.socket
        self.database = directory / "roost.db"
        self.up = trio.Event()
        self.problems: list[str] = []
        self._client: aio.Client

    @property
    def pid(self) -> int:
        return self.roostd.pid

    async def live(self, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        """Start it and serve calls until the scope that is handed out is cancelled; the process goes on."""
        await trio.to_thread.run_sync(self.roostd.start)
        async with aio.connect(self.socket, name="soak") as self._client:
            with trio.CancelScope() as scope:
                self.up.set()
                task_status.started(scope)
                await trio.sleep_forever()
            self.up = trio.Event()

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result, of this life or of the next. What it asks for must bear to be asked twice."""
        while True:
            await self.up.wait()
            try:
                return await self._client.call(method, params)
            except GONE:
                await trio.sleep(AGAIN)

    async def wait(self, condition: Callable[[], bool]) -> bool:
        """Whether it becomes true within :data:`DEADLINE` seconds."""
        with trio.move_on_after(DEADLINE):
            while not condition():  # noqa: ASYNC110 - what it looks at are counts of others
                await trio.sleep(AGAIN)
            return True
        return False

    def marked(self) -> list[Process]:
        return host.marked(host.everything(), self.socket)

    async def terminate(self) -> float:
        """SIGTERM. Nothing is left; lost is at most the state of a child that was killed then. Seconds to its end."""
        self.roostd.connection.close()
        seconds, status = await trio.to_thread.run_sync(self.roostd.stop)
        if status not in (0, LOST):
            self.problems.append(f"roostd ended with status {status}: {self.roostd.log()}")
        if left := self.marked():
            self.problems.append(f"after SIGTERM there are {len(left)} processes: {left[:5]}")
        return seconds

    def kill(self) -> set[Process]:
        """kill -9; what it had, which must be gone when the next life begins."""
        before = self.marked()
        self.roostd.kill()
        return set(before)

    def end(self) -> None:
        """Whatever it is at: it ends, and all that it started."""
        self.roostd.process.kill()
        self.roostd.process.wait()
        while there := self.marked():
            for process in there:
                host.kill(process)

    def left(self, before: set[Process]) -> None:
        """Look for what should have been ended."""
        known = {(process.pid, process.start_time) for process in before}
        there = [process for process in self.marked() if (process.pid, process.start_time) in known]
        if there:
            self.problems.append(f"after kill -9 and a new start {len(there)} processes are left: {there[:5]}")
