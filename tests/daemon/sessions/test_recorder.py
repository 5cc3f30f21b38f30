"""What a turn says is written in order, merged for a moment, within bounds, and never twice."""

import pytest
import trio

from helpers.rooms import FULL, UNKNOWN, Faults, Rooms
from helpers.waiting import wait_until
from roost.daemon.core.said import Append, Change, End, Progress, Start
from roost.daemon.sessions import recorder
from roost.daemon.sessions.recorder import MERGE_BYTES, MOST_UNSAVED, Recorder, persist
from roost.daemon.store import Tx, reads
from roost.protocol.errors import LimitReached, OutcomeUnknown, SessionNotFound, StorageFailed
from roost.protocol.events import DAEMON_STARTED, DaemonStarted
from roost.protocol.model import Item, ItemKind, ItemState
from roost.protocol.rpc import unpack


async def recording(house: Rooms, nursery: trio.Nursery, max_output: int = 10**9) -> tuple[Recorder, str]:
    """A recorder of a turn that runs, and the turn."""
    turn = await house.begun(await house.create(), "hang")
    made = Recorder(house.store, turn, max_output)
    nursery.start_soon(made.run)
    return made, turn


async def items(house: Rooms, turn: str) -> list[Item]:
    return (await house.store.read(lambda conn: reads.items(conn, turn)))[0]


async def deltas(house: Rooms) -> list[str]:
    """The text of each delta event so far."""
    session = next(iter(house.engines))
    kinds = ["item.delta"]
    events, _, _ = await house.store.read(lambda conn: reads.events(conn, session, 0, 1000, kinds, 2**30))
    return [unpack(event.packed)["data"]["text"] for event in events]


def start(item: str = "i-1") -> Change:
    return Start(item, ItemKind.agent_message, "", {})


async def test_the_first_after_a_pause_goes_at_once_and_a_stream_is_merged(
    house: Rooms, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MERGE_TIME", 0.3)
    made, _ = await recording(house, nursery)
    await made.add(start())
    await made.add(Append("i-1", "at once "))
    with trio.fail_after(10):
        while not await deltas(house):
            pass
        for n in range(50):
            await made.add(Append("i-1", f"{n} "))
        made.close()
        while not (found := await deltas(house))[-1].endswith("49 "):
            pass
    assert found[0] == "at once " and len(found) < 10
    assert "".join(found) == "at once " + "".join(f"{n} " for n in range(50))


async def test_much_does_not_wait_to_be_merged(
    house: Rooms, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MERGE_TIME", 3600.0)
    made, turn = await recording(house, nursery)
    await made.add(start())
    while not await items(house, turn):
        pass
    for _ in range(3):
        await made.add(Append("i-1", "x" * MERGE_BYTES))
        await made.add(Append("i-1", "y" * MERGE_BYTES))
    with trio.fail_after(10):
        while (await items(house, turn))[0].kept < 6 * MERGE_BYTES:
            pass
    assert (await items(house, turn))[0].content.startswith("x" * MERGE_BYTES + "y")


async def test_what_is_unsaved_is_bounded(house: Rooms, nursery: trio.Nursery) -> None:
    """A disk that does not take it slows the child, not the daemon's memory."""
    made, turn = await recording(house, nursery)
    faults = Faults(house.store)
    faults.fail(FULL, 10**6)
    await made.add(start())
    await wait_until(lambda: faults.failed)
    added = 0
    with trio.move_on_after(0.1):
        while True:
            await made.add(Append("i-1", "x" * 65536))
            added += 65536
    assert MOST_UNSAVED - 65536 <= added <= MOST_UNSAVED + 65536
    faults.mend()
    with trio.fail_after(10):
        await made.add(End("i-1", ItemState.completed, {"n": 1}))
        while not (found := await items(house, turn)) or found[0].state is ItemState.in_progress:
            pass
    assert added <= found[0].bytes <= added + 65536


@pytest.mark.parametrize("large", [Progress("x" * 4096, None), Start("i-1", ItemKind.status, "x" * 4096, {})])
async def test_messages_and_titles_are_part_of_what_is_unsaved(
    house: Rooms, nursery: trio.Nursery, large: Change
) -> None:
    made, _ = await recording(house, nursery)
    faults = Faults(house.store)
    faults.fail(FULL, 10**6)
    await made.add(start())
    await wait_until(lambda: faults.failed)
    added = 0
    with trio.move_on_after(0.1):
        while True:
            await made.add(large)
            added += 1
            await trio.lowlevel.checkpoint()
    assert 0 < added <= MOST_UNSAVED / 4096


async def test_past_max_output_it_is_counted_and_not_kept(house: Rooms, nursery: trio.Nursery) -> None:
    """Cut at a character's border."""
    made, turn = await recording(house, nursery, max_output=10)
    await made.add(start())
    for text in ("aaaa", "ééé", "zz", "more"):
        await made.add(Append("i-1", text))
    await made.add(End("i-1", ItemState.completed, {}))
    with trio.fail_after(10):
        while not (found := await items(house, turn)) or found[0].state is ItemState.in_progress:
            pass
    assert (found[0].content, found[0].kept, found[0].bytes) == ("aaaaééé", 10, 16)
    assert found[0].truncated


async def test_a_full_disk_is_waited_for(house: Rooms, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "RETRY", 0.01)
    made, turn = await recording(house, nursery)
    faults = Faults(house.store)
    faults.fail(FULL, 3)
    await made.add(start())
    with trio.fail_after(10):
        while not await items(house, turn):
            pass
    assert faults.failed == 3 and made.problem is None


@pytest.mark.parametrize("done", [True, False])
async def test_what_may_be_there_is_not_sent_twice(house: Rooms, nursery: trio.Nursery, done: bool) -> None:
    made, turn = await recording(house, nursery)
    faults = Faults(house.store)
    faults.fail(UNKNOWN, done_first=done)
    await made.add(start())
    with trio.fail_after(10):
        await wait_until(lambda: made.problem is not None)
    assert made.problem is UNKNOWN
    await made.add(Append("i-1", "unheard"))
    made.close()
    assert len(await items(house, turn)) == done


async def test_what_cannot_be_kept_is_a_problem_and_no_bug(house: Rooms, nursery: trio.Nursery) -> None:
    made, _ = await recording(house, nursery)
    await made.add(Start("i-1", ItemKind.status, "", {"x": "x" * 2_000_000}))
    with trio.fail_after(10):
        await wait_until(lambda: made.problem is not None)
    assert isinstance(made.problem, LimitReached)


async def test_close_writes_what_is_left(house: Rooms) -> None:
    turn = await house.begun(await house.create(), "hang")
    made = Recorder(house.store, turn, 10**9)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.run)
        await made.add(start())
        await made.add(Append("i-1", "the end"))
        made.close()
    assert (await items(house, turn))[0].content == "the end"


async def test_persist_tries_until_it_is_written(house: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "RETRY", 0.01)
    faults = Faults(house.store)
    delays: list[None] = []

    def emit(tx: Tx) -> str:
        tx.emit("", DAEMON_STARTED, DaemonStarted(pid=1, version="", interrupted=[], ended=[]))
        return "written"

    faults.fail(FULL, 2)
    assert await persist(house.store, emit, delayed=lambda: delays.append(None)) == "written"
    assert len(delays) == 2
    faults.fail(UNKNOWN)
    assert await persist(house.store, emit) == "written"
    faults.fail(UNKNOWN)
    with pytest.raises(OutcomeUnknown):
        await persist(house.store, emit, twice=False)


async def test_persist_can_be_cancelled_and_passes_the_operations_own_error_on(house: Rooms) -> None:
    """No wait without an end: a stop cuts it short."""

    def lost(tx: Tx) -> None:
        tx.session("s-none")

    with pytest.raises(SessionNotFound):
        await persist(house.store, lost)
    Faults(house.store).fail(StorageFailed("full; free some space"), 10**6)
    with trio.move_on_after(0.05) as scope:
        await persist(house.store, lost)
    assert scope.cancelled_caught
