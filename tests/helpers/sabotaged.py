"""A roostd with a bug, or with a disk that is full at times, for tests: the product itself has no hooks for them.

``python sabotaged.py FAULT FILE``: the fault is there while FILE exists. What follows on the command line is ignored,
so that it can be given to ``Daemon.start`` as a wrapper.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from roost.daemon import __main__ as program
from roost.daemon.server.connection import Connection
from roost.daemon.sessions.janitor import Janitor
from roost.daemon.sessions.records import Records
from roost.daemon.sessions.runner import QueueRunner
from roost.daemon.sessions.session import LiveSession
from roost.daemon.store.writer import Writer

ROOM = 60
"""Pages of 4 KiB that a full disk still has: enough for what is small."""


def command(fault: str, switch: Path) -> list[str]:
    """The wrapper to start such a daemon with."""
    return [sys.executable, __file__, fault, str(switch)]


def session(on: Callable[[], bool]) -> None:
    """The task of a session called ``broken`` fails when it is asked for a turn."""
    sound = LiveSession._run_turn  # pyright: ignore[reportPrivateUsage]

    async def run_turn(self: LiveSession, running: Any) -> None:
        if on() and self.house.record(self.id).name == "broken":
            raise ZeroDivisionError("sabotaged")
        await sound(self, running)

    LiveSession._run_turn = run_turn  # type: ignore[method-assign]  # pyright: ignore[reportPrivateUsage]


def connection(on: Callable[[], bool]) -> None:
    """The connection of a client that asks for daemon.stats fails."""
    sound = Connection._take  # pyright: ignore[reportPrivateUsage]

    def take(self: Connection, message: Any) -> bool:
        if on() and getattr(message, "method", "") == "daemon.stats":
            raise ZeroDivisionError("sabotaged")
        return sound(self, message)

    Connection._take = take  # type: ignore[method-assign]  # pyright: ignore[reportPrivateUsage]


def sweeper(on: Callable[[], bool]) -> None:
    """The sweep for failed sessions fails each time."""
    sound = Janitor.sweep_failed

    async def sweep(self: Janitor) -> None:
        if on():
            raise ZeroDivisionError("sabotaged")
        await sound(self)

    Janitor.sweep_failed = sweep  # type: ignore[method-assign]


def runner(on: Callable[[], bool]) -> None:
    """The queue runner itself fails when it looks for work."""
    sound = QueueRunner.run

    async def run(self: QueueRunner) -> None:
        if on():
            raise ZeroDivisionError("sabotaged")
        await sound(self)

    def behind_others(self: Records, session_id: str) -> None:
        if on():
            raise ZeroDivisionError("sabotaged")

    QueueRunner.run = run  # type: ignore[method-assign]
    Records.behind_others = behind_others  # type: ignore[method-assign]


def disk(on: Callable[[], bool]) -> None:
    """The disk has room for a little more, and not for much."""
    sound = Writer.run
    full = False

    def run(self: Writer, jobs: Any) -> Any:
        nonlocal full
        if on() != full and self.link.conn is not None:
            full = on()
            pages = self.link.conn.execute("PRAGMA page_count").fetchone()[0]
            self.link.conn.execute(f"PRAGMA max_page_count = {pages + ROOM if full else 2**30}")
        return sound(self, jobs)

    Writer.run = run  # type: ignore[method-assign]


def main() -> None:
    fault, switch = sys.argv[1], Path(sys.argv[2])
    {"session": session, "connection": connection, "sweeper": sweeper, "runner": runner, "disk": disk}[fault](
        switch.exists
    )
    del sys.argv[1:]
    program.main()


if __name__ == "__main__":
    main()
