"""A worker of async functions."""

import asyncio

from roost import worker

seen: list[asyncio.AbstractEventLoop] = []


async def turn(turn: worker.Turn) -> None:
    seen.append(asyncio.get_running_loop())
    if turn.input == "loops":
        turn.emit("agent_message", str(len(set(seen))))
        return
    try:
        turn.emit("status", "waiting")
        await asyncio.sleep(3600)
    finally:
        turn.emit("status", "tidied up")


async def restore(state: int) -> None:
    await asyncio.sleep(0)
    seen.extend([asyncio.get_running_loop()] * state)


async def checkpoint() -> int:
    return len(seen)


worker.run(turn, checkpoint=checkpoint, restore=restore)
