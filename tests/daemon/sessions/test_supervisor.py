"""The verbs as their owner does them: what they answer while a session comes, goes, or is busy with something else."""

from pathlib import Path

import pytest
import trio
import trio.testing

from helpers.rooms import ME, Rooms, rooms
from helpers.waiting import wait_until
from roost.daemon.core.result import MAX_RESULT
from roost.daemon.store import checkpoints, sessions, turns
from roost.protocol.errors import (
    CheckpointNotFound,
    EngineNotFound,
    InvalidParams,
    NotSupported,
    ResultTooLarge,
    SessionBusy,
    SessionNotFound,
    WorkspaceInvalid,
)
from roost.protocol.model import After, AfterEnd, SessionState, TurnState


async def test_the_state_is_a_copy_of_the_live_one_else_the_saved_one(house: Rooms) -> None:
    """Memory, then disk, then nothing."""
    session = await house.create()
    assert (await house.supervisor.checkpoints.state(session, "latest")).source == "none"
    await house.run(session, "one")
    live = await house.supervisor.checkpoints.state(session, "latest")
    assert (live.source, live.state) == ("live", ["one"])
    turn = await house.run(session, "two")
    assert live.state == ["one"], "later changes do not show in it"
    await house.supervisor.stop(session)
    saved = await house.supervisor.checkpoints.state(session, "latest")
    assert (saved.source, saved.state, saved.through_turn) == ("checkpoint", ["one", "two"], turn.id)
    with pytest.raises(CheckpointNotFound):
        await house.supervisor.checkpoints.state(session, "other")


async def test_a_state_that_is_too_large_to_be_told_is_not_looked_into(house: Rooms) -> None:
    """To unpack many small values takes long, and nobody else is served meanwhile."""
    session = await house.create()
    for letter in "ab":
        await house.run(session, letter * 600_000)
    with pytest.raises(ResultTooLarge, match=r"session\.checkpoint") as caught:
        await house.supervisor.checkpoints.state(session, "latest")
    assert caught.value.data["bytes"] > caught.value.data["limit"]
    large = b"\xc1" * (MAX_RESULT + 1)  # no MessagePack at all
    await house.store.write(lambda tx: checkpoints.save(tx, session, name="kept", state=large, through_turn=None))
    with pytest.raises(ResultTooLarge):
        await house.supervisor.checkpoints.state(session, "kept")


async def test_the_state_of_one_that_is_just_unloaded_is_the_saved_one(house: Rooms) -> None:
    """Whoever asks at that moment gets an answer, not that the child has ended."""
    session = await house.create()
    await house.run(session, "one")
    house.gates["end"] = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.registry.unloading.unload, session, "idle")
        await wait_until(lambda: "end" in house.engines[session].entered)
        sources: list[tuple[str, object]] = []

        async def ask() -> None:
            told = await house.supervisor.checkpoints.state(session, "latest")
            sources.append((told.source, told.state))
            kept = await house.supervisor.checkpoints.save(session, "named")
            sources.append((kept.name, kept.through_turn))

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        house.gates.pop("end").set()
    assert sources[0] == ("checkpoint", ["one"]) and sources[1][0] == "named"


async def test_checkpoints_are_taken_under_a_name_live_or_not(house: Rooms) -> None:
    session = await house.create()
    with pytest.raises(CheckpointNotFound):
        await house.supervisor.checkpoints.save(session, "early")
    await house.run(session, "one")
    assert (await house.supervisor.checkpoints.save(session, "live")).name == "live"
    assert house.live(session).state.dirty, "only latest is what a start restores"
    latest = await house.supervisor.checkpoints.save(session, "latest")
    assert not house.live(session).state.dirty
    await house.supervisor.stop(session)
    assert await house.supervisor.checkpoints.save(session, "latest") == latest
    assert (await house.supervisor.checkpoints.save(session, "copy")).through_turn == latest.through_turn


async def test_a_checkpoint_while_a_turn_runs_does_not_count_as_saved(house: Rooms) -> None:
    session = await house.create()
    turn = await house.begun(session, "hang")
    await house.supervisor.checkpoints.save(session, "latest")
    assert house.live(session).state.dirty
    await house.supervisor.prompts.cancel(turn, "user")
    await house.wait(turn)


async def test_kind_command_has_no_state(house: Rooms) -> None:
    session = await house.create(engine="true")
    with pytest.raises(NotSupported):
        await house.supervisor.checkpoints.clear(session)
    assert (await house.supervisor.checkpoints.state(session, "latest")).source == "none"
    assert (await house.supervisor.start(session)).state is SessionState.idle


async def test_an_engine_that_saves_nothing_says_so(house: Rooms) -> None:
    session = await house.create()
    await house.registry.ensure(session)
    house.engines[session].saves = False
    with pytest.raises(NotSupported, match="no state that can be saved"):
        await house.supervisor.checkpoints.save(session, "latest")


async def test_clear_empties_what_is_live_and_what_is_saved(house: Rooms) -> None:
    session = await house.create()
    await house.run(session, "keep")
    await house.supervisor.checkpoints.clear(session)
    assert (await house.supervisor.checkpoints.state(session, "latest")).state == []
    await house.supervisor.stop(session)
    assert (await house.supervisor.checkpoints.state(session, "latest")).state == []
    await house.supervisor.checkpoints.clear(session)
    assert (await house.supervisor.checkpoints.state(session, "latest")).source == "none"


async def test_a_session_is_made_of_what_exists(house: Rooms, tmp_path: Path) -> None:
    with pytest.raises(EngineNotFound, match="tiny"):
        await house.create(engine="nope")
    with pytest.raises(WorkspaceInvalid):
        await house.create(workspace=str(tmp_path / "nowhere"))
    session = await house.create("work")
    changed = await house.do(sessions.update, session, after=After(failed=AfterEnd.retry))
    assert changed.after.failed is AfterEnd.retry
    assert (await house.registry.find("work")).id == session


async def test_a_prompt_that_is_too_long_is_refused_by_its_bytes(tmp_path: Path) -> None:
    async with rooms(tmp_path, "[limits]\nprompt = 10\n") as house:
        session = await house.create()
        with pytest.raises(InvalidParams) as caught:
            await house.send(session, "é" * 6)
        assert caught.value.data["bytes"] == 12
        with pytest.raises(InvalidParams) as edited:
            house.supervisor.prompts.check_size("é" * 6)
        assert edited.value.message == caught.value.message and edited.value.data == caught.value.data
        house.supervisor.prompts.check_size("é" * 5)


async def test_delete_and_archive_want_an_idle_session(house: Rooms) -> None:
    session = await house.create()
    turn = await house.begun(session, "hang")
    with pytest.raises(SessionBusy):
        await house.supervisor.archive(session)
    with pytest.raises(SessionBusy):
        await house.supervisor.delete(session)
    await house.supervisor.prompts.cancel(turn, "user")
    await house.wait(turn)
    assert (await house.supervisor.archive(session)).session.archived
    assert not (await house.do(sessions.unarchive, session)).archived
    await house.supervisor.delete(session)
    with pytest.raises(SessionNotFound):
        await house.supervisor.stop(session)


async def test_what_waits_is_changed_until_it_starts(house: Rooms) -> None:
    session = await house.create(after={"cancelled": "continue"})
    first = await house.begun(session, "hang")
    one, two = await house.send(session, "say one"), await house.send(session, "say two")
    assert (await house.do(turns.edit, one, "say changed")).input == "say changed"
    await house.do(turns.move, two, one)
    assert (await house.do(turns.remove, one)).state is TurnState.cancelled
    retry = await house.send(session, "again", retry_of=first)
    result = await house.supervisor.prompts.cancel(first, "user", ME)
    assert (result.outcome, result.turn.cancelling) == ("requested", "user")
    assert (await house.wait(retry)).state is TurnState.completed
    assert house.supervisor.in_flight() == {}


async def test_a_released_session_goes_on_and_who_waits_hears_of_the_end(house: Rooms) -> None:
    session = await house.create()
    first = await house.begun(session, "hang")
    behind = await house.send(session, "say it")
    await house.supervisor.prompts.cancel(first, "user")
    held = await house.supervisor.wait_settled(session)
    assert held.hold is not None and held.queued == 1
    released, count = await house.supervisor.release(session)
    assert released.hold is None and count == 1
    settled = await house.supervisor.wait_settled(session)
    assert settled.last_turn == behind and settled.queued == 0
