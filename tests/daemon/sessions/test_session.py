"""One live session: its jobs, its stop, its races, and what happens when a write fails in the middle of one."""

import os
import threading
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from helpers.rooms import FULL, UNKNOWN, Faults, Rooms, rooms
from helpers.waiting import wait_until
from roost.daemon.core.states import Life
from roost.daemon.sessions import launch, recorder
from roost.daemon.sessions.shutdown import Shutdown
from roost.daemon.store import Tx, turns
from roost.protocol.errors import (
    RoostError,
    SessionBusy,
    SessionNotFound,
    StorageFailed,
    TimedOut,
    TurnNotFound,
    WorkerExited,
)
from roost.protocol.model import SessionState, TurnState

# --- turns ---


async def test_a_turn_runs_and_its_state_is_part_of_its_end(house: Rooms) -> None:
    session, live = await house.started()
    turn = await house.run(session, "keep")
    assert (turn.state, house.record(session).state) == (TurnState.completed, SessionState.ready)
    assert await house.saved(session) == ["keep"] and not live.state.dirty
    await house.run(session, "more")
    assert live.state.dirty, "its end did not carry the state"


async def test_a_cancel_that_meets_the_claim_is_carried_out(house: Rooms) -> None:
    """On disk before the session knows its turn, it is not lost."""
    session, live = await house.started()
    live.running.cancel("t-later", "policy")
    live.running.cancel("t-other", "user")
    assert live.running._cancels == {"t-later": "policy", "t-other": "user"}  # pyright: ignore[reportPrivateUsage]
    house.gates["run"] = trio.Event()
    turn = await house.send(session, "hang")
    await wait_until(lambda: live.running.turn)
    await house.supervisor.prompts.cancel(turn, "policy")
    house.gates.pop("run").set()
    ended = await house.wait(turn)
    assert (ended.state, ended.reason) == (TurnState.cancelled, "policy")
    await wait_until(lambda: not live.running._cancels)  # pyright: ignore[reportPrivateUsage]


async def test_a_claim_of_which_nobody_knows_whether_it_is_on_disk_is_looked_up(
    house: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the turn would be running, and nobody would run it."""
    monkeypatch.setattr(recorder, "RETRY", 0.01)
    session, _ = await house.started()
    faults = Faults(house.store)
    for done in (True, False):
        faults.fail(UNKNOWN, after=1, done_first=done)  # turn.send itself goes through
        turn = await house.run(session, "say it")
        assert turn.state is TurnState.completed


async def test_a_claim_that_fails_is_tried_again_and_does_not_spin(tmp_path: Path) -> None:
    """A full disk is not asked again at once, for ever."""
    async with rooms(tmp_path, "[sessions]\npoll = '20ms'\n") as house:
        session, _ = await house.started()
        faults = Faults(house.store)
        faults.fail(FULL, 10**6, after=1)
        turn = await house.send(session, "say it")
        with trio.move_on_after(0.5):
            await house.wait(turn)
        assert 1 <= faults.failed <= 6
        faults.mend()
        assert (await house.wait(turn)).state is TurnState.completed


async def test_when_the_end_of_a_turn_cannot_be_written_it_waits_and_loses_nothing(
    house: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "RETRY", 0.01)
    session, _ = await house.started()
    house.gates["run"] = trio.Event()
    turn = await house.send(session, "keep")
    await wait_until(lambda: house.registry.live[session].running.turn)
    faults = Faults(house.store)
    faults.fail(FULL, 3)
    house.gates.pop("run").set()
    assert (await house.wait(turn)).state is TurnState.completed and faults.failed == 3
    faults.fail(UNKNOWN, after=2, done_first=True)  # send and claim go through
    again = await house.run(session, "keep on")
    assert again.state is TurnState.completed
    assert (await house.kinds(session)).count("turn.completed") == 2, "done twice is done once"


async def test_the_time_that_a_turn_takes_is_no_idle_time(house: Rooms) -> None:
    """Else one that ran for longer than ``idle_unload`` would end with its session."""
    session, live = await house.started()
    house.gates["run"] = trio.Event()
    turn = await house.send(session, "say it")
    await wait_until(lambda: live.running.turn)
    live.used_at -= 3600
    house.gates.pop("run").set()
    await house.wait(turn)
    await wait_until(lambda: live.running.turn is None)
    assert house.registry.unloading.due(1800) == []


async def test_a_child_that_dies_between_turns_is_replaced(house: Rooms) -> None:
    session, live = await house.started()
    house.engines[session].kill()
    await live.wait_over()
    assert (await house.run(session, "say hello")).state is TurnState.completed


# --- stop ---


@pytest.mark.parametrize("again", range(8))
async def test_a_turn_that_is_claimed_as_the_stop_by_force_comes_is_cancelled(house: Rooms, again: int) -> None:
    """Both are in one commit: mostly the session's task does not know yet that it runs."""
    session, live = await house.started()
    house.supervisor.runner.stop()
    go_on = threading.Event()

    def hold(tx: Tx) -> None:
        assert go_on.wait(20)

    house.store.write_nowait(hold)
    async with trio.open_nursery() as nursery:
        for asked in (
            partial(house.send, session, "deaf"),
            partial(live.ask, live.next_turn, otherwise=None),
            partial(house.supervisor.stop, session, force=True),
        ):
            nursery.start_soon(asked)
            await trio.testing.wait_all_tasks_blocked()
        go_on.set()
    [turn] = await house.turns(session)
    assert (turn.state, turn.reason) == (TurnState.cancelled, "user")


# --- unload, clear, delete, archive ---
async def test_unload_and_send_meet_and_the_turn_runs(house: Rooms) -> None:
    """Never between memory and disk."""
    session = await house.create()
    for n in range(20):
        await house.run(session, f"turn {n}")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.registry.unloading.unload, session, "idle")
            nursery.start_soon(house.run, session, f"meanwhile {n}")
    assert house.record(session).queued == 0
    state = await house.supervisor.checkpoints.state(session, "latest")
    assert len(state.state) == 40 and state.state[:2] == ["turn 0", "meanwhile 0"], "no update is lost"


async def test_a_session_whose_turn_waits_is_not_unloaded(house: Rooms) -> None:
    session, live = await house.started()
    house.supervisor.runner.stop()
    turn = await house.send(session, "say it")
    assert not await house.registry.unloading.unload(session, "idle") and live.life is Life.serving
    await house.do(turns.remove, turn)
    assert await house.registry.unloading.unload(session, "idle")


async def test_clear_is_not_undone_by_a_start_that_meets_it(house: Rooms) -> None:
    session, _ = await house.started()
    for n in range(20):
        await house.run(session, "keep")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.supervisor.stop, session)
            nursery.start_soon(house.supervisor.checkpoints.clear, session)
            nursery.start_soon(house.supervisor.start, session)
        state = (await house.supervisor.checkpoints.state(session, "latest")).state
        assert not state, f"round {n}: {state}"


async def test_clear_of_a_running_session_is_refused(house: Rooms) -> None:
    session, _ = await house.started()
    await house.begun(session, "hang")
    with pytest.raises(SessionBusy):
        await house.supervisor.checkpoints.clear(session)


async def test_a_clear_that_cannot_be_saved_leaves_a_state_to_save(house: Rooms) -> None:
    """What is in memory and what is on disk differ then: the next stop sees to it."""
    session, live = await house.started()
    await house.run(session, "keep")
    Faults(house.store).fail(FULL)
    with pytest.raises(StorageFailed):
        await house.supervisor.checkpoints.clear(session)
    assert live.state.dirty and await house.saved(session) == ["keep"]
    await house.supervisor.stop(session)
    assert await house.saved(session) == []


async def test_a_clear_that_is_not_answered_in_time_leaves_a_state_to_save(
    house: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child may have cleared it all the same: a stop that called it unchanged would undo that."""
    session, live = await house.started()
    await house.run(session, "keep")
    engine = house.engines[session]

    async def late() -> None:
        engine.seen = []
        raise TimedOut("it did not answer in time; try again")

    monkeypatch.setattr(engine, "clear", late)
    with pytest.raises(TimedOut):
        await house.supervisor.checkpoints.clear(session)
    assert live.state.dirty and await house.saved(session) == ["keep"]
    report = await Shutdown(house.supervisor, "test", lambda text: None).run()
    assert (report.saved, report.unchanged) == (1, 0)
    assert await house.saved(session) == []


async def test_what_is_saved_after_a_clear_holds_all_turns_before_it(house: Rooms) -> None:
    """Also one that was lost with its child, which the state did not hold until then."""
    session, _ = await house.started()
    one = await house.run(session, "one")
    await house.supervisor.stop(session)
    lost = await house.begun(session, "deaf")
    await house.supervisor.stop(session, force=True)
    await house.supervisor.start(session)
    assert (await house.supervisor.checkpoints.save(session, "before")).through_turn == one.id
    await house.supervisor.checkpoints.clear(session)
    assert (await house.supervisor.checkpoints.save(session, "after")).through_turn == lost


async def test_delete_and_start_meet(house: Rooms) -> None:
    for _ in range(10):
        session = await house.create()
        async with trio.open_nursery() as nursery:

            async def start(session: str = session) -> None:
                try:
                    await house.supervisor.start(session)
                except RoostError as exc:
                    assert isinstance(exc, SessionNotFound | WorkerExited), exc

            nursery.start_soon(start)
            nursery.start_soon(house.supervisor.delete, session, True)
        assert house.registry.live == {} and house.registry.records.by_id(session) is None


async def test_archive_and_send_meet(house: Rooms) -> None:
    """One of them is refused, or both were in time; nothing is archived with a queue."""
    for _ in range(10):
        session, _ = await house.started()
        errors: list[RoostError] = []

        async def ask(work: object, *args: object, errors: list[RoostError] = errors) -> None:
            try:
                await work(*args)  # type: ignore[operator]
            except RoostError as exc:
                errors.append(exc)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, house.supervisor.archive, session)
            nursery.start_soon(ask, house.send, session, "say it")
        record = await house.stored(session)
        assert len(errors) == 1, "exactly one of them came too late"
        assert record.archived is (not record.turns)


async def test_a_deleted_session_leaves_nothing_behind(house: Rooms) -> None:
    """And whoever waits for one of its turns is told."""
    session, _ = await house.started()
    first = await house.begun(session, "hang")
    behind = await house.send(session, "say it")
    await house.supervisor.prompts.cancel(first, "user")
    await house.wait(first)

    async def wait() -> None:
        with pytest.raises(TurnNotFound):
            await house.wait(behind)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        await house.supervisor.delete(session, force=True)
    drives = house.supervisor.runner.drives
    assert not house.registry.live and not drives.in_flight
    assert drives._failures == {}  # pyright: ignore[reportPrivateUsage]


async def test_an_engine_is_told_what_was_cut_off_until_a_turn_has_begun(tmp_path: Path) -> None:
    """A child that was started and unloaded again before its first turn does not take the news along."""
    async with rooms(tmp_path) as house:
        session = await house.create()
        turn = await house.begun(session, "hang")
        await Shutdown(house.supervisor, "test", lambda text: None).run()
    async with rooms(tmp_path) as house:
        for _ in range(2):
            await house.registry.find(session)
            await house.supervisor.start(session)
            told = house.engines[session].launch.interrupted
            assert told is not None and (told["turn"], told["input"]) == (turn, "hang")
            await house.supervisor.stop(session)
        assert house.record(session).interrupted == turn, "`roost ls` shows it"
        await house.run(session, "say it")
        assert house.record(session).interrupted is None
        await house.supervisor.stop(session)
        await house.supervisor.start(session)
        assert house.engines[session].launch.interrupted is None


async def test_a_cut_off_turn_that_retention_removed_keeps_nobody_from_starting(house: Rooms) -> None:
    session = await house.create()
    lost = {"interrupted": "t-removed"}
    await house.store.write(lambda tx: tx.put_session(tx.session(session).model_copy(update=lost)))
    assert (await house.run(session, "say it")).state is TurnState.completed


async def test_a_secret_that_does_not_come_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file may be a pipe, or on a file system that does not answer."""
    monkeypatch.setattr(launch, "FILE_DEADLINE", 0.5)
    os.mkfifo(tmp_path / "secret")
    source = f"[engines.secret]\ncommand = ['x']\n[engines.secret.env_from]\nKEY = 'file:{tmp_path / 'secret'}'\n"
    async with rooms(tmp_path, source) as house:
        session = await house.create(engine="secret")
        turn = await house.run(session, "say it")
        assert (turn.state, turn.reason) == (TurnState.failed, "secret_missing")
        os.close(os.open(tmp_path / "secret", os.O_WRONLY))  # lets the thread go that still waits for it
        (tmp_path / "secret").unlink()
        (tmp_path / "secret").write_text("the word\n")
        monkeypatch.undo()
        await house.supervisor.release(session)
        assert (await house.run(session, "say it")).state is TurnState.completed
        assert house.engines[session].launch.env["KEY"] == "the word"
