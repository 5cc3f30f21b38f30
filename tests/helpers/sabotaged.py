"""A roostd with bugs, and with a disk that is full, at times, for tests: the product itself has no hooks for them.

``python sabotaged.py FOLDER``: a fault is there while FOLDER holds a file of its name. What follows on the command line
is ignored, so that it can be given to ``Daemon.start`` as a wrapper.
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
from roost.daemon.sessions.turn import RunningTurn
from roost.daemon.store import Tx
from roost.daemon.store.writer import Writer

ROOM = 60
"""Pages of 4 KiB that a full disk still has: enough for what is small."""


def command(switches: Path) -> list[str]:
    """The wrapper to start such a daemon with."""
    return [sys.executable, __file__, str(switches)]


def session(on: Callable[[], bool]) -> None:
    """The task of a session fails when it runs the turn ``say hello``."""
    sound = RunningTurn.run

    async def run(self: RunningTurn) -> None:
        if on() and self.turn.input == "say hello":
            raise ZeroDivisionError("sabotaged: session")
        await sound(self)

    RunningTurn.run = run  # type: ignore[method-assign]


def connection(on: Callable[[], bool]) -> None:
    """The connection of a client that asks for daemon.stats fails."""
    sound = Connection._take  # pyright: ignore[reportPrivateUsage]

    def take(self: Connection, message: Any) -> bool:
        if on() and getattr(message, "method", "") == "daemon.stats":
            raise ZeroDivisionError("sabotaged: connection")
        return sound(self, message)

    Connection._take = take  # type: ignore[method-assign]  # pyright: ignore[reportPrivateUsage]


def sweeper(on: Callable[[], bool]) -> None:
    """The sweep for failed sessions fails each time."""
    sound = Janitor.sweep_failed

    async def sweep(self: Janitor) -> None:
        if on():
            raise ZeroDivisionError("sabotaged: sweeper")
        await sound(self)

    Janitor.sweep_failed = sweep  # type: ignore[method-assign]


def runner(on: Callable[[], bool]) -> None:
    """The queue runner itself fails when it looks for work."""
    sound, sound_order = QueueRunner.run, Records.behind_others

    async def run(self: QueueRunner) -> None:
        if on():
            raise ZeroDivisionError("sabotaged: runner")
        await sound(self)

    def behind_others(self: Records, session_id: str) -> None:
        if on():
            raise ZeroDivisionError("sabotaged: runner")
        sound_order(self, session_id)

    QueueRunner.run = run  # type: ignore[method-assign]
    Records.behind_others = behind_others  # type: ignore[method-assign]


def disk(on: Callable[[], bool]) -> None:
    """The disk has room for a little more, and not for much."""
    sound = Writer.run
    filled = False

    def run(self: Writer, jobs: Any) -> Any:
        nonlocal filled
        if on() != filled and self.link.conn is not None:
            filled = on()
            pages = self.link.conn.execute("PRAGMA page_count").fetchone()[0]
            self.link.conn.execute(f"PRAGMA max_page_count = {pages + ROOM if filled else 2**30}")
        return sound(self, jobs)

    Writer.run = run  # type: ignore[method-assign]


def full(on: Callable[[], bool]) -> None:
    """The disk has no room at all: each operation needs some more, and SQLite finds none."""
    disk(on)
    sound = Writer.run

    def needing(operation: Callable[[Tx], Any]) -> Callable[[Tx], Any]:
        def more(tx: Tx) -> Any:
            result = operation(tx)
            tx.conn.execute("INSERT INTO chunks VALUES ('no such item', 0, zeroblob(10000000))")
            return result

        return more

    def run(self: Writer, jobs: Any) -> Any:
        for job in jobs if on() else ():
            job.operation = needing(job.operation)
        return sound(self, jobs)

    Writer.run = run  # type: ignore[method-assign]


def main() -> None:
    switches = Path(sys.argv[1])
    for fault in (session, connection, sweeper, runner, disk, full):
        fault((switches / fault.__name__).exists)
    del sys.argv[1:]
    program.main()


if __name__ == "__main__":
    main()
