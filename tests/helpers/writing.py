"""A child of the store's tests that writes until it is killed, or under faults: python writing.py DATABASE MODE [ARG]

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
from roost.daemon.store import Store
from roost.protocol.errors import RoostError

TASKS = 20


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


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


if __name__ == "__main__":
    database, mode = Path(sys.argv[1]), sys.argv[2]
    if mode == "many":
        trio.run(many, database)
    elif mode in ("single", "crash"):
        trio.run(partial(single, database, int(sys.argv[3]), crash=mode == "crash"))
    else:
        last(database, int(sys.argv[3]))
