"""The stop of one live session: what is saved, what is ended, what is parked, and what meets it."""

import pytest
import trio

from helpers.rooms import FULL, UNKNOWN, Faults, Rooms
from helpers.waiting import wait_until
from roost.daemon.core.states import TURN, Life
from roost.daemon.sessions import recorder
from roost.protocol import rpc
from roost.protocol.errors import (
    InternalError,
    RoostError,
    WorkerExited,
)
from roost.protocol.model import After, AfterEnd, SessionState, TurnState

# --- turns ---


async def test_stop_saves_what_changed_and_ends_the_child(house: Rooms) -> None:
    session, live = await house.started()
    await house.run(session, "one")
    record = (await house.supervisor.stop(session)).session
    assert record.state is SessionState.idle and await house.saved(session) == ["one"]
    assert live.life is Life.over
    assert (await house.supervisor.stop(session)).session.state is SessionState.idle, "stopped twice is stopped once"


async def test_many_stops_at_once_are_one_and_all_succeed(house: Rooms) -> None:
    session, _ = await house.started()
    turn = await house.begun(session, "hang")
    async with trio.open_nursery() as nursery:
        for force in (False, False, False, True, True):
            nursery.start_soon(house.supervisor.stop, session, force)
    assert (await house.wait(turn)).state is TurnState.cancelled
    states = [kind for kind in await house.kinds(session) if kind == "session.state_changed"]
    assert len(states) == 5, "starting ready busy stopping idle"


async def test_a_forced_stop_waits_behind_nothing(house: Rooms) -> None:
    """A child that hangs must not keep waiting whoever wants it gone."""
    session, _ = await house.started()
    await house.run(session, "one")
    house.gates["state"] = trio.Event()
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(RoostError):
                await house.supervisor.checkpoints.save(session, "named")

        nursery.start_soon(ask)
        nursery.start_soon(house.supervisor.stop, session)
        await wait_until(lambda: "state" in house.engines[session].entered)
        nursery.start_soon(house.supervisor.stop, session, True)
        await wait_until(lambda: house.engines[session].gone.is_set())
        house.gates.pop("state").set()
    assert house.record(session).state is SessionState.idle and await house.saved(session) is None


async def test_a_stop_that_is_forced_meanwhile_does_not_miss_the_state(house: Rooms) -> None:
    """Who forced it gave the state up: that it was not saved is no failure."""
    session, live = await house.started()
    await house.begun(session, "deaf")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.supervisor.stop, session)
        await wait_until(lambda: "cancel" in house.engines[session].entered)
        nursery.start_soon(house.supervisor.stop, session, True)
    assert live.state.unsaved is None and "checkpoint.failed" not in await house.kinds(session)


async def test_a_forced_stop_ends_one_that_only_starts(house: Rooms) -> None:
    session = await house.create()
    house.gates["serve"] = gate = trio.Event()
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(WorkerExited):
                await house.registry.ensure(session)

        nursery.start_soon(ask)
        await wait_until(lambda: session in house.engines and "serve" in house.engines[session].entered)
        nursery.start_soon(house.supervisor.stop, session, True)
        await wait_until(lambda: house.live(session).life is Life.stopping)
        gate.set()
    assert house.record(session).state is SessionState.idle
    assert house.supervisor.restarts._deaths == {}, "it was wanted"  # pyright: ignore[reportPrivateUsage]


async def test_a_state_that_cannot_be_saved_at_the_stop_is_said(house: Rooms) -> None:
    session, _ = await house.started()
    await house.run(session, "stuck")
    stopped = await house.supervisor.stop(session)
    assert stopped.session.state is SessionState.idle
    assert stopped.unsaved is not None and stopped.unsaved.name == "timed_out"
    assert "checkpoint.failed" in await house.kinds(session)


@pytest.mark.parametrize("error", [FULL, InternalError("a bug; report it")])
async def test_a_stop_that_cannot_be_written_is_refused_and_the_session_lives_on(
    house: Rooms, error: RoostError
) -> None:
    session, live = await house.started()
    Faults(house.store).fail(error)
    with pytest.raises(type(error)):
        await house.supervisor.stop(session)
    assert live.life is Life.serving
    assert (await house.run(session, "say hello")).state is TurnState.completed
    assert (await house.supervisor.stop(session)).session.state is SessionState.idle


@pytest.mark.parametrize("done", [True, False])
async def test_a_stop_that_may_be_written_goes_on(house: Rooms, done: bool) -> None:
    session, _ = await house.started()
    turn = await house.begun(session, "hang")
    Faults(house.store).fail(UNKNOWN, done_first=done)
    assert (await house.supervisor.stop(session)).session.state is SessionState.idle
    assert (await house.wait(turn)).state is TurnState.cancelled


async def test_a_stop_goes_on_though_nothing_can_be_written_meanwhile(
    house: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child ends all the same; that it has ended is written when there is room."""
    monkeypatch.setattr(recorder, "RETRY", 0.01)
    session, _ = await house.started()
    await house.run(session, "one")
    faults = Faults(house.store)
    faults.fail(FULL, 5, after=1)
    record = (await house.supervisor.stop(session)).session
    assert record.state is SessionState.idle and faults.failed == 5
    assert await house.saved(session) is None


async def test_a_stop_and_the_end_of_its_turn_meet(house: Rooms) -> None:
    """Whichever comes first, the turn ends once and the session is idle."""
    for _ in range(30):
        session, _ = await house.started()
        turn = await house.send(session, "say it")
        await house.supervisor.stop(session)
        await house.supervisor.release(session)
        ended = await house.wait(turn)
        assert ended.state in (TurnState.completed, TurnState.cancelled)
        kinds = await house.kinds(session)
        assert sum(kind in ("turn.completed", "turn.cancelled") for kind in kinds) == 1
        await house.supervisor.delete(session, force=True)


@pytest.mark.parametrize("live", [True, False])
async def test_a_stop_parks_what_is_queued(house: Rooms, live: bool) -> None:
    session = await house.create()
    if live:
        await house.run(session, "before")
    house.supervisor.runner.stop()
    await house.send(session, "behind")
    await house.supervisor.stop(session)
    assert "session.held" in await house.kinds(session)
    record, released = await house.supervisor.release(session)
    assert (record.state, record.queued, released) == (SessionState.idle, 1, 1)


@pytest.mark.parametrize("force", [True, False])
async def test_a_stop_while_its_turn_starts_the_child_is_not_undone(house: Rooms, force: bool) -> None:
    """Whenever it comes: nothing starts the child again, and no turn fails for want of it."""
    drives = house.supervisor.runner.drives
    for steps in range(0, 60, 2):
        session = await house.create()
        await house.send(session, "hang")
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        await house.supervisor.stop(session, force=force)
        await wait_until(lambda: session not in drives.in_flight)  # noqa: B023
        assert session not in house.registry.live, f"after {steps} steps"
        assert house.record(session).state is SessionState.idle, f"after {steps} steps"
        [turn] = await house.turns(session)
        assert turn.state in (TurnState.queued, TurnState.cancelled), f"after {steps} steps"


async def test_a_stop_that_meets_an_unload_parks_what_is_queued(house: Rooms) -> None:
    """The unload ends the child first, and would leave the queue to start it again."""
    session, _ = await house.started()
    await house.run(session, "one")
    house.gates["state"] = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.registry.unloading.unload, session, "idle")
        await wait_until(lambda: "state" in house.engines[session].entered)
        await house.send(session, "two")
        nursery.start_soon(house.supervisor.stop, session)
        await wait_until(lambda: house.record(session).hold is not None)
        house.gates.pop("state").set()
    record = house.record(session)
    assert (record.state, record.queued) == (SessionState.idle, 1) and session not in house.registry.live


async def test_a_stop_that_meets_a_start_which_fails_parks_what_is_queued(house: Rooms) -> None:
    session = await house.create(after=After(failed=AfterEnd.proceed))
    house.gates["serve"] = trio.Event()
    for prompt in ("one", "two", "three"):
        await house.send(session, prompt)
    await wait_until(lambda: session in house.engines and "serve" in house.engines[session].entered)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.supervisor.stop, session)
        await wait_until(lambda: house.record(session).hold is not None)
        house.engines[session].kill()
    await wait_until(lambda: session not in house.supervisor.runner.drives.in_flight)
    assert session not in house.registry.live and house.record(session).queued == 3, "none fails for want of it"


async def test_a_state_names_the_last_turn_that_it_holds(house: Rooms) -> None:
    """A turn that its engine never answered is none of them."""
    session, live = await house.started()
    one = await house.run(session, "one")
    cut = await house.begun(session, "deaf")
    live.stop.interrupt("daemon_stop")
    assert (await house.wait(cut)).state is TurnState.interrupted
    assert (await live.state.told())[1] == one.id
    assert (await live.state.save()).through_turn == one.id


async def test_a_state_holds_a_turn_that_is_answered_before_its_end_is_on_disk(
    house: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "RETRY", 0.01)
    session, live = await house.started()
    one = await house.run(session, "one")
    house.gates["run"] = trio.Event()
    two = await house.send(session, "two")
    await wait_until(lambda: house.engines[session].entered.count("run") == 2)
    assert (await live.state.told())[1] == one.id
    faults = Faults(house.store)
    faults.fail(FULL, 1_000_000)
    house.gates.pop("run").set()
    await wait_until(lambda: faults.failed)
    packed, through = await live.state.told()
    assert (rpc.unpack(packed), through) == (["one", "two"], two)
    assert not TURN.terminal((await house.turns(session))[-1].state)
    faults.mend()
    await house.wait(two)
    assert (await live.state.told())[1] == two
