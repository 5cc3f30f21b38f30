"""The stop of all sessions: what it saves, what it reports, and that nothing in it waits for ever."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from helpers.rooms import FULL, Faults, Rooms, rooms
from helpers.waiting import wait_until
from roost.daemon.core.batches import Report
from roost.daemon.sessions import shutdown
from roost.daemon.sessions.shutdown import Shutdown
from roost.daemon.store import Tx, checkpoints
from roost.protocol.errors import ShuttingDown
from roost.protocol.model import SessionState, TurnState
from roost.protocol.rpc import unpack

QUICK = "[sessions]\ncancel_grace = '50ms'\n[checkpoints]\nbatch = 3\nbatch_timeout = '2s'\nparallel_batches = 2\n"


async def stop(house: Rooms) -> Report:
    with trio.fail_after(10):
        return await Shutdown(house.supervisor, "test", lambda text: None).run()


async def saved(house: Rooms, session: str) -> object:
    found = await house.store.read(lambda conn: checkpoints.load(conn, session, "latest"))
    return None if found is None else unpack(found[1])


async def test_without_sessions_it_is_over_at_once(house: Rooms) -> None:
    report = await stop(house)
    assert (report.sessions, report.batches, report.status) == (0, 0, 0)


async def test_each_state_that_changed_is_saved_in_batches(tmp_path: Path) -> None:
    """Ceil(n / batch) batches, and the counters tell the truth."""
    async with rooms(tmp_path, QUICK) as house:
        sessions = [await house.create() for _ in range(7)]
        for n, session in enumerate(sessions):
            await house.run(session, "keep" if n == 0 else f"turn {n}")
        report = await stop(house)
        assert (report.sessions, report.saved, report.unchanged) == (7, 6, 1)
        assert (report.batches, report.batches_ok, report.status) == (3, 3, 0)
        for n, session in enumerate(sessions):
            assert await saved(house, session) == (["keep"] if n == 0 else [f"turn {n}"])
            assert house.record(session).state is SessionState.idle
        assert house.registry.live == {}


async def test_one_that_hangs_costs_nobody_else_and_is_named(tmp_path: Path) -> None:
    """Its batch is over in its time, and nothing else waits for it."""
    async with rooms(tmp_path, QUICK) as house:
        sessions = [await house.create() for _ in range(4)]
        for session in sessions:
            await house.run(session, "one")
        house.engines[sessions[1]].gates = {"state": trio.Event()}
        report = await stop(house)
        assert report.timed_out == [sessions[1]] and report.failed == []
        assert (report.saved, report.batches_ok, report.batches_timed_out, report.status) == (3, 1, 1, 9)
        assert "checkpoint.failed" in await house.kinds(sessions[1])
        assert house.registry.live == {}


async def test_a_short_deadline_leaves_time_to_save(tmp_path: Path) -> None:
    async with rooms(tmp_path, f"{QUICK}[daemon]\nstop_deadline = '8s'\n") as house:
        clean, dirty, stuck = [await house.create() for _ in range(3)]
        await house.run(clean, "keep")
        await house.run(dirty, "one")
        await house.run(stuck, "keep")
        house.engines[stuck].gates = {"end": trio.Event()}
        begin = trio.current_time()
        report = await stop(house)
        assert (report.saved, report.unchanged, report.timed_out, report.status) == (1, 2, [], 0)
        assert await saved(house, dirty) == ["one"]
        assert trio.current_time() - begin < 12, "the children's end keeps to it, too"


async def test_without_any_time_only_what_was_not_saved_is_lost(tmp_path: Path) -> None:
    async with rooms(tmp_path, f"{QUICK}[daemon]\nstop_deadline = 0\n") as house:
        clean, dirty = [await house.create() for _ in range(2)]
        await house.run(clean, "keep")
        await house.run(dirty, "one")
        report = await stop(house)
        assert (report.timed_out, report.unchanged, report.status) == ([dirty], 1, 9)
        assert "checkpoint.failed" not in await house.kinds(clean)
        assert await saved(house, clean) == ["keep"]


async def test_a_running_turn_is_interrupted_and_its_state_saved(tmp_path: Path) -> None:
    async with rooms(tmp_path, QUICK) as house:
        session = await house.create()
        turn = await house.begun(session, "deaf")
        report = await stop(house)
        ended = await house.wait(turn)
        assert (ended.state, ended.reason) == (TurnState.interrupted, "daemon_shutdown")
        assert (report.interrupted, report.saved, report.status) == ([turn], 1, 0)
        assert await saved(house, session) == ["deaf"]


async def test_what_was_cancelled_is_not_reported_as_interrupted(tmp_path: Path) -> None:
    async with rooms(tmp_path, QUICK) as house:
        session = await house.create()
        turn = await house.begun(session, "deaf")
        house.live(session).running.turn.cancel("user")  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
        await house.supervisor.prompts.cancel(turn, "user")
        report = await stop(house)
        assert (await house.wait(turn)).state is TurnState.cancelled and report.interrupted == []


async def test_a_turn_that_is_just_being_claimed_is_interrupted_too(tmp_path: Path) -> None:
    """Nothing begins behind the back of the stop."""
    async with rooms(tmp_path, QUICK) as house:
        session = await house.create()
        await house.registry.ensure(session)
        await house.send(session, "deaf")
        write, claiming, go = house.store.write, trio.Event(), trio.Event()

        async def slow(operation: Callable[[Tx], Any]) -> Any:
            result: Any = await write(operation)
            if not claiming.is_set() and house.record(session).turn:
                claiming.set()
                await go.wait()
            return result

        house.store.write = slow  # type: ignore[method-assign]
        await claiming.wait()
        async with trio.open_nursery() as nursery:
            reports: list[Report] = []

            async def ask() -> None:
                reports.append(await stop(house))

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            go.set()
        turn = house.record(session).last_turn
        assert turn is not None and reports[0].interrupted == [turn]
        assert (await house.wait(turn)).state is TurnState.interrupted
        assert (reports[0].saved, reports[0].status) == (1, 0)


async def test_queued_turns_stay_queued(tmp_path: Path) -> None:
    async with rooms(tmp_path, QUICK) as house:
        session = await house.create(after={"interrupted": "continue"})
        await house.begun(session, "hang")
        behind = await house.send(session, "say later")
        await stop(house)
        [_, waiting] = await house.turns(session)
        assert (waiting.id, waiting.state) == (behind, TurnState.queued)
        with pytest.raises(ShuttingDown):
            await house.send(session, "too late")
        with pytest.raises(ShuttingDown):
            await house.supervisor.start(session)


async def test_one_that_only_starts_has_nothing_to_lose(tmp_path: Path) -> None:
    async with rooms(tmp_path, QUICK) as house:
        session = await house.create()
        house.gates["serve"] = trio.Event()
        turn = await house.send(session, "say it")
        await wait_until(lambda: session in house.engines and "serve" in house.engines[session].entered)
        report = await stop(house)
        assert (report.sessions, report.unchanged, report.status) == (1, 1, 0)
        assert house.record(session).state is SessionState.idle
        [waiting] = await house.turns(session)
        assert (waiting.id, waiting.state) == (turn, TurnState.queued), "its start has not failed"


async def test_one_whose_start_is_only_prepared_is_not_started(tmp_path: Path) -> None:
    async with rooms(tmp_path, QUICK) as house:
        session = await house.create()
        turn = await house.send(session, "say it")
        await wait_until(lambda: session in house.registry.live)
        report = await stop(house)
        assert (report.sessions, report.status) == (0, 0)
        assert house.registry.live == {} and house.record(session).state is SessionState.idle
        [waiting] = await house.turns(session)
        assert (waiting.id, waiting.state) == (turn, TurnState.queued)


async def test_a_state_that_cannot_be_written_is_a_loss(tmp_path: Path) -> None:
    async with rooms(tmp_path, QUICK) as house:
        session = await house.create()
        await house.run(session, "one")
        Faults(house.store).fail(FULL)
        report = await stop(house)
        assert (report.failed, report.batches_failed, report.status) == ([session], 1, 9)


async def test_when_the_database_is_gone_it_is_over_soon_and_says_what_is_lost(tmp_path: Path) -> None:
    """Nothing can be written, not even that the children have ended: nobody waits for that."""
    async with rooms(tmp_path, QUICK) as house:
        clean, dirty, busy = [await house.create() for _ in range(3)]
        await house.run(clean, "keep")
        await house.run(dirty, "one")
        await house.begun(busy, "deaf")
        house.store.gone = "/state/roost.db"
        begin = trio.current_time()
        report = await stop(house)
        assert trio.current_time() - begin < 5
        assert sorted(report.failed) == sorted([dirty, busy]) and report.unchanged == 1
        assert all(engine.gone.is_set() for engine in house.engines.values())


async def test_a_child_that_is_dead_already_has_lost_what_changed(tmp_path: Path) -> None:
    async with rooms(tmp_path, QUICK) as house:
        session = await house.create()
        await house.run(session, "one")
        engine = house.engines[session]
        faults = Faults(house.store)
        faults.fail(FULL, 3)
        engine.kill()
        await wait_until(lambda: engine.gone.is_set())
        report = await stop(house)
        assert report.failed == [session]


async def test_in_a_hurry_nothing_is_waited_for(tmp_path: Path) -> None:
    """A second SIGTERM, in each phase: while states are asked for, and while children end."""
    config = QUICK.replace("'2s'", "'60s'").replace("parallel_batches = 2", "parallel_batches = 1")
    async with rooms(tmp_path, config) as house:
        sessions = [await house.create() for _ in range(6)]
        for session in sessions:
            await house.run(session, "one")
        house.engines[sessions[0]].gates = {"state": trio.Event()}
        house.engines[sessions[1]].gates = {"end": trio.Event()}
        shutdown = Shutdown(house.supervisor, "test", lambda text: None)
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(shutdown.run)
                await wait_until(lambda: not any(house.live(session).state.dirty for session in sessions[1:3]))
                await trio.testing.wait_all_tasks_blocked()
                shutdown.hurry()
        report = shutdown.report
        assert sessions[0] in report.timed_out and sessions[1] not in report.timed_out
        assert len(report.timed_out) in (1, 4), "the other batch was over before, or is not begun"
        await wait_until(lambda: all(house.engines[session].gone.is_set() for session in sessions))


async def test_a_child_that_does_not_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutdown, "ENDING", 0.2)
    async with rooms(tmp_path, QUICK) as house:
        session = await house.create()
        await house.run(session, "keep")
        house.engines[session].gates = {"end": trio.Event()}
        report = await stop(house)
        assert (report.unchanged, report.status) == (1, 0)
        await wait_until(lambda: house.engines[session].gone.is_set())


async def test_a_session_that_is_being_stopped_is_waited_for(tmp_path: Path) -> None:
    async with rooms(tmp_path, QUICK) as house:
        session = await house.create()
        await house.run(session, "one")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.supervisor.stop, session)
            await wait_until(lambda: "state" in house.engines[session].entered)
            report = await stop(house)
        assert report.status == 0 and await saved(house, session) == ["one"]


async def test_its_steps_are_told(tmp_path: Path) -> None:
    """For EXTEND_TIMEOUT_USEC and systemctl status."""
    async with rooms(tmp_path, QUICK) as house:
        await house.run(await house.create(), "one")
        steps: list[str] = []
        await Shutdown(house.supervisor, "test", steps.append).run()
        assert "stopping: 1 saved, 1 batches settled" in steps
