"""A child that does not answer: whoever asks is told in time, what has not begun is not done, a stop is first."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from helpers.rooms import FULL, Faults, Rooms, rooms
from helpers.waiting import wait_until
from roost.daemon.sessions import checkpoints, recorder, registry, supervisor, unloading
from roost.protocol.errors import TimedOut
from roost.protocol.model import SessionState


async def test_of_many_who_ask_nobody_waits_longer_than_the_first(
    house: Rooms, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await house.create()
    await house.run(session, "one")
    house.gates["state"] = trio.Event()
    verbs = house.supervisor
    nursery.start_soon(verbs.checkpoints.state, session, "latest")
    await wait_until(lambda: "state" in house.engines[session].entered)
    said: list[str] = []

    async def ask(verb: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(TimedOut) as caught:
            await verb()
        said.append(caught.value.message)

    with monkeypatch.context() as hurried:
        for module in (checkpoints, unloading):
            hurried.setattr(module, "ANSWER", 0.05)
        async with trio.open_nursery() as asking:
            for n in range(5):
                asking.start_soon(ask, partial(verbs.checkpoints.save, session, f"n{n}"))
                asking.start_soon(ask, partial(verbs.checkpoints.clear, session))
                asking.start_soon(ask, partial(verbs.checkpoints.state, session, "latest"))
        assert not await house.registry.unloading.unload(session, "idle")
    assert len(said) == 15 and all("was not begun" in text for text in said)
    house.gates.pop("state").set()
    assert (await verbs.checkpoints.state(session, "latest")).state == ["one"]
    assert house.engines[session].entered == ["serve", "run", "state", "state"], "what was not begun is not done"


async def test_a_stop_goes_before_what_was_asked_earlier(house: Rooms) -> None:
    """Those who asked get what it saved, though their turn never came."""
    session = await house.create()
    await house.run(session, "one")
    house.gates["state"] = trio.Event()
    kept: list[str] = []

    async def checkpoint(name: str) -> None:
        kept.append((await house.supervisor.checkpoints.save(session, name)).name)

    async with trio.open_nursery() as asking:
        for name in ("first", "second", "third"):
            asking.start_soon(checkpoint, name)
            await wait_all_tasks_blocked()
        asking.start_soon(house.supervisor.stop, session)
        await wait_all_tasks_blocked()
        house.gates.pop("state").set()
    assert house.engines[session].entered == ["serve", "run", "state", "state", "end"], "one was begun; then the stop's"
    assert sorted(kept) == ["first", "second", "third"]
    assert await house.saved(session) == ["one"]


async def test_a_clear_that_a_stop_overtakes_is_done_without_the_child(house: Rooms) -> None:
    session = await house.create()
    await house.run(session, "one")
    house.gates["state"] = trio.Event()
    async with trio.open_nursery() as asking:
        for verb in (
            partial(house.supervisor.checkpoints.save, name="first"),
            house.supervisor.checkpoints.clear,
            house.supervisor.stop,
        ):
            asking.start_soon(verb, session)
            await wait_all_tasks_blocked()
        house.gates.pop("state").set()
    assert "clear" not in house.engines[session].entered and await house.saved(session) is None


@pytest.mark.parametrize("verb", ["clear", "archive", "delete"])
async def test_what_must_be_alone_waits_for_another_within_a_limit(
    house: Rooms, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    session = await house.create()
    kept = r"another request has kept session s-\w+ for 0\.05 s, and this one was not begun"
    with monkeypatch.context() as hurried:
        hurried.setattr(registry, "ANSWER", 0.05)
        async with house.registry.alone(session):
            with pytest.raises(TimedOut, match=kept):
                await getattr(house.supervisor if verb != "clear" else house.supervisor.checkpoints, verb)(session)
    await getattr(house.supervisor if verb != "clear" else house.supervisor.checkpoints, verb)(session)


GRACES = "[limits]\nstart_timeout = '50ms'\n[sessions]\n" + "".join(
    f"{name} = '50ms'\n" for name in ("cancel_grace", "stop_grace", "term_grace")
)


@pytest.mark.parametrize("verb", ["stop", "archive", "delete"])
async def test_an_end_is_waited_for_within_a_limit_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Also where the disk takes nothing; it is done when that has room again."""
    monkeypatch.setattr(recorder, "LONGEST_RETRY", 0.01)
    monkeypatch.setattr(supervisor, "ANSWER", 0.05)
    async with rooms(tmp_path, GRACES) as house:
        session = await house.create()
        await house.run(session, "one")
        faults = Faults(house.store)
        faults.fail(FULL, 1_000_000, after=1)  # that it stops can be written, that it has stopped cannot
        with pytest.raises(TimedOut, match=r"has not ended within .* goes on: `roost show s-"):
            await getattr(house.supervisor if verb != "clear" else house.supervisor.checkpoints, verb)(session)
        faults.mend()
        await wait_until(lambda: session not in house.registry.live)
        if verb == "delete":
            await wait_until(lambda: house.registry.records.by_id(session) is None)
        else:
            await wait_until(lambda: house.record(session).archived is (verb == "archive"))
            assert house.record(session).state is SessionState.idle


async def test_an_archive_says_that_the_state_is_lost(house: Rooms) -> None:
    session = await house.create()
    await house.run(session, "stuck")
    archived = await house.supervisor.archive(session)
    assert archived.session.archived
    assert archived.unsaved is not None and archived.unsaved.name == "timed_out"
    assert (await house.supervisor.archive(session)).unsaved is None, "there is nothing more to lose"
