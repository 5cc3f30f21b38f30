"""Children of the store's tests that write until they are killed, or under faults; each begins in a few milliseconds.

A mother has imported everything, and forks a child for each line that she reads: DATABASE MODE [ARG]. The child says
"pid" and its number, waits for a line, and then writes; when it has ended, she says "exit" and its status.

many     twenty tasks send prompts for ever; each that was acknowledged is said
single   ARG operations one after another; what became of each is said
crash    the same, and there is no orderly end
last     the same, without another connection: what fails is looked into after a recovery of the WAL
"""

import os
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import trio

from helpers.ledger import Ledger, creating, emitting, sending
from helpers.tracer import TRACEABLE
from roost.daemon.store import Store
from roost.protocol.errors import RoostError

TASKS = 20


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def heard() -> str:
    """The next line; no more is read than that, for a child reads on where its mother was."""
    line = b""
    while not line.endswith(b"\n"):
        if not (byte := os.read(0, 1)):
            sys.exit()
        line += byte
    return line.decode().rstrip("\n")


async def many(path: Path) -> None:
    """Each line: the session, the turn's number, its prompt."""
    store = Store.open(path, used=True)

    async def send_for_ever() -> None:
        session = await store.write(creating())
        count = 0
        while True:
            count += 1
            turn, _, _ = await store.write(sending(session.id, f"prompt {count}", limit=10**9))
            say(session.id, turn.number, turn.input)

    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        for _ in range(TASKS):
            nursery.start_soon(send_for_ever)


async def single(path: Path, count: int, *, crash: bool = False) -> None:
    """Each line: begin or end, the operation, what became of it, the last offset that was delivered."""
    store = Store.open(path, used=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        for number in range(count):
            say("begin", number)
            try:
                await store.write(emitting("", str(number)))
            except RoostError as exc:
                say("end", number, exc.name, store.offset)
            else:
                say("end", number, "ok", store.offset)
        if crash:
            os._exit(0)
        store.close()


def last(path: Path, count: int) -> None:
    with closing(Ledger(path, used=True)) as ledger:
        ledger.reader.close()
        for number in range(count):
            say("begin", number)
            (job,) = ledger.group(emitting("", str(number)))
            delivered = ledger.commits[-1].events[-1].offset if ledger.commits else 0
            say("end", number, job.error.name if job.error else "ok", delivered)


def write(database: Path, mode: str, count: int = 0) -> None:
    if mode == "many":
        trio.run(many, database)
    elif mode in ("single", "crash"):
        trio.run(partial(single, database, count, crash=mode == "crash"))
    else:
        last(database, count)


def main() -> None:
    while True:
        database, mode, *count = heard().split("\t")
        if child := os.fork():
            say("exit", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            continue
        exec(TRACEABLE)
        say("pid", os.getpid())
        heard()
        write(Path(database), mode, *map(int, count))
        return


if __name__ == "__main__":
    main()
