"""A turn that waits for an answer gives its place back, and goes on when it has both."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from helpers.rooms import FULL, Faults, Rooms, rooms
from helpers.waiting import wait_until
from roost.daemon.sessions import recorder
from roost.protocol.model import SessionState, TurnState

ONE = "[limits]\nmax_running_turns = 1\n[sessions]\ncancel_grace = '50ms'\n"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Rooms]:
    """One turn may run at a time."""
    async with rooms(tmp_path, ONE) as made:
        yield made


async def asking(house: Rooms, prompt: str = "ask", **params: int) -> tuple[str, str]:
    """A new session and its turn, which waits."""
    house.gates.setdefault("answer", trio.Event())
    session = await house.create()
    turn = await house.begun(session, prompt, **params)
    await wait_until(lambda: house.record(session).state is SessionState.waiting)
    return session, turn


async def state(house: Rooms, session: str) -> TurnState:
    return (await house.turns(session))[-1].state


async def test_a_turn_that_waits_lets_another_run_and_goes_on_when_a_place_is_free(house: Rooms) -> None:
    first, turn = await asking(house)
    assert await state(house, first) is TurnState.waiting and house.registry.records.running == set()
    other = await house.create()
    assert (await house.run(other, "one")).state is TurnState.completed, "the place is free while the first waits"
    running = await house.begun(other, "hang")
    late = await house.create()
    queued = await house.send(late, "two")
    house.gates["answer"].set()
    await wait_until(lambda: house.supervisor.runner.drives.resuming)
    await wait_all_tasks_blocked(0.01)
    assert await state(house, first) is TurnState.waiting, "no place is free"
    assert "answer heard" not in house.engines[first].entered
    await house.supervisor.prompts.cancel(running, "user")
    assert (await house.wait(turn)).state is TurnState.completed
    assert "answer heard" in house.engines[first].entered
    assert (await house.wait(queued)).state is TurnState.completed
    [begun] = [one.started_at for one in await house.turns(late)]
    [went_on] = [one.ended_at for one in await house.turns(first)]
    assert begun is not None and went_on is not None and begun >= went_on, "a turn that goes on is before any new one"
    states = [kind for kind in await house.kinds(first) if kind == "session.state_changed"]
    assert len(states) == 6, "starting ready busy waiting busy ready"


async def test_a_turn_with_several_questions_goes_on_at_the_last(house: Rooms) -> None:
    house.gates["answer 2"] = trio.Event()
    session, turn = await asking(house, "ask 2")
    house.gates["answer"].set()
    await wait_until(lambda: "answer heard" in house.engines[session].entered)
    assert house.record(session).state is SessionState.waiting
    house.gates["answer 2"].set()
    assert (await house.wait(turn)).state is TurnState.completed


async def test_a_question_asked_while_the_turn_waits_for_a_place_gives_the_place_back(house: Rooms) -> None:
    house.gates["rest"] = trio.Event()
    session, turn = await asking(house)
    other = await house.create()
    running = await house.begun(other, "hang")
    house.gates["answer"].set()
    await wait_until(lambda: session in house.supervisor.runner.drives.resuming)
    house.gates["more"] = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.live(session).child.waiting, lambda: house.engines[session]._enter("more"))  # pyright: ignore[reportPrivateUsage]
        await wait_until(lambda: "more" in house.engines[session].entered)
        await house.supervisor.prompts.cancel(running, "user")
        await wait_until(lambda: "answer heard" in house.engines[session].entered)
        assert house.record(session).state is SessionState.waiting
        assert (await house.run(await house.create(), "one")).state is TurnState.completed
        house.gates["more"].set()
    await wait_until(lambda: house.record(session).state is SessionState.busy)
    house.gates["rest"].set()
    assert (await house.wait(turn)).state is TurnState.completed


async def test_a_cancel_reaches_a_turn_that_waits_before_its_engine_is_asked(house: Rooms) -> None:
    session, turn = await asking(house)
    await house.supervisor.prompts.cancel(turn, "user")
    ended = await house.wait(turn)
    assert (ended.state, ended.reason) == (TurnState.cancelled, "user")
    entered = house.engines[session].entered
    assert "cancel" not in entered or entered.index("answer cancelled") < entered.index("cancel")
    assert (await house.run(session, "one")).state is TurnState.completed


async def test_a_cancel_reaches_a_turn_that_has_its_answer_and_waits_for_a_place(house: Rooms) -> None:
    session, turn = await asking(house)
    other = await house.create()
    running = await house.begun(other, "hang")
    house.gates["answer"].set()
    await wait_until(lambda: house.supervisor.runner.drives.resuming)
    await house.supervisor.prompts.cancel(turn, "user")
    assert (await house.wait(turn)).state is TurnState.cancelled
    assert not house.supervisor.runner.drives.resuming
    await house.supervisor.prompts.cancel(running, "user")
    assert (await house.run(session, "one")).state is TurnState.completed, "no place was lost"


async def test_the_stop_of_a_session_ends_a_turn_that_waits(house: Rooms) -> None:
    session, turn = await asking(house)
    await house.supervisor.stop(session)
    assert (await house.wait(turn)).state is TurnState.cancelled
    assert house.record(session).state is SessionState.idle


async def test_the_death_of_the_child_ends_a_turn_that_waits(house: Rooms) -> None:
    session, turn = await asking(house)
    house.engines[session].kill()
    await house.wait(turn)
    await wait_until(lambda: house.record(session).state is SessionState.idle)
    assert not house.registry.records.running


async def test_the_idle_clock_stands_while_a_turn_waits_and_its_total_goes_on(house: Rooms) -> None:
    first, patient = await asking(house, idle_timeout=30)
    session, hurried = await asking(house, timeout=120)
    ended = await house.wait(hurried)
    assert (ended.state, ended.reason) == (TurnState.cancelled, "timeout")
    assert await state(house, first) is TurnState.waiting, "it waits since longer than its idle_timeout"
    house.gates["answer"].set()
    assert (await house.wait(patient)).state is TurnState.completed
    assert house.record(session).state is SessionState.ready


async def test_that_a_turn_waits_is_on_disk_before_its_question_is_asked(
    house: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "RETRY", 0.01)
    house.gates["answer"] = trio.Event()
    session, _ = await house.started()
    faults = Faults(house.store)
    faults.fail(FULL, 1_000_000, after=2)
    turn = await house.begun(session, "ask")
    await wait_until(lambda: faults.failed > 2)
    assert "answer" not in house.engines[session].entered
    faults.mend()
    await wait_until(lambda: "answer" in house.engines[session].entered)
    house.gates["answer"].set()
    assert (await house.wait(turn)).state is TurnState.completed
