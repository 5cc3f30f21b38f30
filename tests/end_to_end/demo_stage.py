"""Where the demo plays: a daemon on a temporary state directory, a client that acts, and a second one that follows."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import trio

from roost import client
from roost.protocol.errors import DaemonUnreachable

START_SECONDS = 15.0
STOP_SECONDS = 20.0
FOLLOW_SECONDS = 10.0
"""How long the second client may take to see what has happened."""
WAIT_MS = 20_000
"""How long a turn may take, in milliseconds."""

Event = dict[str, Any]


class Broken(Exception):
    """The play cannot go on; says why in a sentence."""


class Stage:
    """One state directory, one daemon after another on it, and two clients of each.

    Args:
        nursery: where the clients live.

    Attributes:
        followed: all that the second client has received from the daemon that runs now.
        stream_end: why its stream ended; empty while it has not.
    """

    def __init__(self, directory: Path, nursery: trio.Nursery) -> None:
        self.directory = directory
        self.socket = f"{directory}/run/roost.sock"
        self.log = directory / "roostd.log"
        self.followed: list[Event] = []
        self.stream_end = ""
        self._nursery = nursery
        self._news = trio.Condition()
        self._daemon: trio.Process | None = None
        self._acting: client.Client | None = None

    async def start(self, after: int = 0) -> int:
        """Start roostd, connect, and have the second client follow from the event ``after`` on; the daemon's pid."""
        environ = daemon_environment(os.environ) | {
            "HOME": str(self.directory),  # nobody's settings
            "ROOST_STATE_DIRECTORY": str(self.directory),
        }
        with self.log.open("ab") as log:
            # In a session of its own, so that Ctrl-C reaches the demo only; the demo ends it.
            self._daemon = daemon = await trio.lowlevel.open_process(
                [sys.executable, "-P", "-m", "roost.daemon"],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        await self._wait_served(daemon)
        self._acting = await self._nursery.start(self._act)
        self.followed, self.stream_end = [], ""
        await self._nursery.start(self._follow, after)
        return daemon.pid

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a method of the protocol, over the socket."""
        assert self._acting is not None
        return await self._acting.call(method, params)

    async def run(self, session: str, prompt: str) -> dict[str, Any]:
        """Send a prompt and wait for its end: the turn and its items."""
        turn = (await self.call("turn.send", session=session, input=prompt))["turn"]["id"]
        await self.call("turn.wait", turn=turn, timeout=WAIT_MS)
        return await self.call("turn.get", turn=turn)

    async def read_events(self) -> list[Event]:
        """Every event that the store holds, by ``events.read``."""
        events: list[Event] = []
        page: dict[str, Any] = {"next": 0, "more": True}
        while page["more"]:
            page = await self.call("events.read", all=True, after=page["next"], limit=1000)
            events += page["events"]
        return events

    async def wait_followed(self, what: str, condition: Callable[[list[Event]], bool]) -> None:
        """Wait until the second client has seen enough."""
        with trio.move_on_after(FOLLOW_SECONDS):
            async with self._news:
                while not condition(self.followed):
                    await self._news.wait()
                return
        raise Broken(f"the second client waited {FOLLOW_SECONDS:g} s in vain for {what}")

    async def stop(self) -> int:
        """Send SIGTERM and wait for the end; the exit status."""
        assert self._daemon is not None
        self._daemon.terminate()
        with trio.move_on_after(STOP_SECONDS):
            return await self._daemon.wait()
        raise Broken(f"roostd did not end within {STOP_SECONDS:g} s of SIGTERM")

    async def close(self) -> None:
        """End whatever was started and still runs."""
        with trio.CancelScope(shield=True):
            if self._daemon is not None and self._daemon.poll() is None:
                self._daemon.terminate()
                with trio.move_on_after(STOP_SECONDS):
                    await self._daemon.wait()
                self._daemon.kill()
                await self._daemon.wait()
            end_children(self.socket)

    async def _wait_served(self, daemon: trio.Process) -> None:
        with trio.move_on_after(START_SECONDS):
            while daemon.poll() is None:
                try:
                    async with client.connect(self.socket):
                        return
                except DaemonUnreachable:
                    await trio.sleep(0.02)
        status = "it runs" if daemon.returncode is None else f"it ended with exit status {daemon.returncode}"
        raise Broken(f"roostd does not serve {self.socket}: {status}")

    async def _act(self, *, task_status: trio.TaskStatus[client.Client]) -> None:
        """The first client, for as long as the demo runs."""
        async with client.connect(self.socket, name="demo") as acting:
            task_status.started(acting)
            await trio.sleep_forever()

    async def _follow(self, after: int, *, task_status: trio.TaskStatus[None]) -> None:
        """The second client. What it follows begins with ``daemon.started``: with that it is seen to follow."""
        async with client.connect(self.socket, name="demo-follower") as second:
            events = second.events(after=after)
            async for event in events:
                if not self.followed:
                    task_status.started()
                await self._receive(event)
            self.stream_end = events.reason or "no reason"
            await self._receive()

    async def _receive(self, *events: Event) -> None:
        async with self._news:
            self.followed += events
            self._news.notify_all()


def daemon_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` without what names another daemon, its settings, or a service manager."""
    foreign = ("ROOST_", "XDG_", "LISTEN_", "NOTIFY_", "WATCHDOG_")
    return {name: value for name, value in environ.items() if not name.startswith(foreign)}


def end_children(socket: str) -> None:
    """Kill what bears the mark of the daemon that listened at ``socket``: only a broken one leaves anything."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("ROOST_DAEMON") == socket:
                process.kill()
