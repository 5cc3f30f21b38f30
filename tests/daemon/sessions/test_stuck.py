"""A session of which something does not die: whoever waits for it is told, its queue is kept, and it is said once."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from helpers.children import alive, spawn
from helpers.rooms import Rooms, rooms
from helpers.waiting import wait_until
from roost.daemon.sessions import leftovers
from roost.daemon.sessions.stuck import Stuck
from roost.daemon.store import reads
from roost.protocol.errors import ProcessesLeft, RoostError, TimedOut
from roost.protocol.model import SessionState, TurnState

LEFT = ProcessesLeft("processes 7, 8 do not end; look at what they wait for", session="s", pids=[7, 8])
FEWER = ProcessesLeft("process 8 does not end; look at what it waits for", session="s", pids=[8])
SILENT = TimedOut("/proc did not answer; look at what hangs on this host")


@pytest.fixture
async def house(tmp_path: Path) -> AsyncGenerator[Rooms]:
    async with rooms(tmp_path) as made:
        yield made
        for gate in made.gates.values():
            gate.set()


async def starting(house: Rooms) -> str:
    """A session whose child never becomes ready."""
    house.gates["serve"] = trio.Event()
    session = await house.create()
    await house.send(session, "say it")
    await wait_until(lambda: session in house.engines and "serve" in house.engines[session].entered)
    return session


@pytest.mark.parametrize("error", [LEFT, SILENT])
async def test_who_waits_for_a_start_that_is_stuck_is_told_and_its_queue_kept(house: Rooms, error: RoostError) -> None:
    session = await starting(house)
    told: list[RoostError] = []

    async def ask(verb: Callable[[str], Awaitable[object]]) -> None:
        with pytest.raises(RoostError) as caught:
            await verb(session)
        told.append(caught.value)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for verb in (house.supervisor.start, house.supervisor.stop, house.supervisor.checkpoints.clear):
                nursery.start_soon(ask, verb)
            await trio.testing.wait_all_tasks_blocked(0.05)
            await house.live(session).child.stuck(error)
    assert told == [error] * 3
    await wait_until(lambda: not house.supervisor.runner.drives.in_flight)
    assert [turn.state for turn in await house.turns(session)] == [TurnState.queued]
    house.gates.pop("serve")
    house.engines[session].kill()  # it ends after all
    await house.supervisor.release(session)
    assert (await house.wait((await house.turns(session))[0].id)).state is TurnState.completed


async def test_what_does_not_die_is_said_once(house: Rooms) -> None:
    """Of what forks on and on each look finds others: that is no news."""
    session = await starting(house)
    for error in (LEFT, LEFT, FEWER):
        await house.live(session).child.stuck(error)
    events, _, _ = await house.store.read(lambda conn: reads.events(conn, session, 0, 100, ["session.processes_left"]))
    assert len(events) == 1
    with pytest.raises(ProcessesLeft, match="process 8 does"):
        await house.supervisor.stop(session)


async def test_the_end_of_a_session_ends_its_other_children(house: Rooms) -> None:
    """Each belongs to the session and to no turn; the session's own child is the engine's to end."""
    session = await house.create()
    await house.supervisor.start(session)
    processes = house.supervisor.launches.processes
    others = [await spawn(["sleep", "600"], processes=processes, session=session) for _ in range(2)]
    spared = await spawn(["sleep", "600"], processes=processes, session="s-2")
    await house.supervisor.stop(session)
    assert [await child.wait() for child in others] == [-9, -9] and alive(spared.pid)
    for child in (*others, spared):
        await child.aclose()


async def test_the_end_of_a_session_waits_for_its_other_children(house: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    """What of them does not end is said, and tried again."""
    monkeypatch.setattr(leftovers, "AGAIN", 0.01)
    session, real, tried = await house.create(), house.supervisor.launches.processes.end_owner, list[str]()
    await house.supervisor.start(session)

    async def end_owner(owner: str) -> None:
        tried.append(owner)
        if len(tried) < 3:
            raise LEFT
        await real(owner)

    monkeypatch.setattr(house.supervisor.launches.processes, "end_owner", end_owner)
    with pytest.raises(ProcessesLeft):
        await house.supervisor.stop(session)
    await wait_until(lambda: house.record(session).state is SessionState.idle)
    assert tried == [session] * 3 and "session.processes_left" in await house.kinds(session)


async def test_who_was_told_is_told_though_it_has_ended_since(nursery: trio.Nursery) -> None:
    waiters = Stuck()
    told: list[RoostError] = []

    async def wait() -> None:
        with pytest.raises(ProcessesLeft) as caught:
            await waiters.unless(trio.sleep_forever)
        told.append(caught.value)

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    assert waiters.tell(LEFT)
    waiters.free()
    await trio.testing.wait_all_tasks_blocked()
    assert told == [LEFT] and waiters.by is None
    await waiters.unless(trio.testing.wait_all_tasks_blocked)
    assert waiters.tell(FEWER), "that something else does not end is news again"
