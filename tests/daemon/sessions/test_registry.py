"""Get-or-create without races, room for all, the restart limit, and what is remembered of failures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from helpers.rooms import FULL, Faults, Rooms, rooms
from helpers.waiting import wait_until
from roost.daemon.core.states import Life
from roost.daemon.sessions.session import LiveSession
from roost.daemon.store import checkpoints, reads, sessions
from roost.protocol.errors import (
    EngineFailed,
    EngineNotFound,
    InternalError,
    SessionArchived,
    SessionFailed,
    SessionNotFound,
    ShuttingDown,
    StorageFailed,
    WorkspaceInvalid,
)
from roost.protocol.model import SessionState, TurnState


async def gather(count: int, ask: Callable[[], Any]) -> list[Any]:
    """What ``count`` of them at once are answered."""
    found: list[Any] = []

    async def one() -> None:
        found.append(await ask())

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
    return found


async def test_many_first_requests_share_one_start(house: Rooms) -> None:
    session = await house.create()
    house.gates["serve"] = trio.Event()

    async with trio.open_nursery() as nursery:
        found: list[LiveSession] = []

        async def ask() -> None:
            found.append(await house.registry.ensure(session))

        for _ in range(20):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        house.gates.pop("serve").set()
    assert len(found) == 20 and set(found) == {house.live(session)}
    assert house.engines[session].entered.count("serve") == 1


async def test_one_that_lives_is_returned_and_counts_as_used(house: Rooms) -> None:
    session = await house.create()
    live = await house.registry.ensure(session)
    live.used_at = 0
    assert await house.registry.ensure(session) is live
    assert live.used_at > 0


async def test_a_slow_start_holds_nobody_up(house: Rooms) -> None:
    slow, quick = await house.create(), await house.create()
    house.gates["serve"] = gate = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.registry.ensure, slow)
        await wait_until(lambda: slow in house.engines)
        del house.gates["serve"]
        house.engines[slow].gates = {"serve": gate}
        await house.registry.ensure(quick)
        assert house.live(slow).life is Life.starting
        gate.set()


async def test_one_that_is_stopping_is_waited_for_and_started_anew(house: Rooms) -> None:
    """Never two children of one session."""
    session = await house.create()
    first = await house.registry.ensure(session)
    house.gates["end"] = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.supervisor.stop, session)
        await wait_until(lambda: first.life is Life.stopping)
        found: list[list[LiveSession]] = []

        async def ask() -> None:
            found.append(await gather(3, lambda: house.registry.ensure(session)))

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        assert not found
        house.gates.pop("end").set()
        await wait_until(lambda: found)
    assert found[0][0] is not first and len(set(found[0])) == 1


async def test_a_dead_one_is_replaced(house: Rooms) -> None:
    session = await house.create()
    first = await house.registry.ensure(session)
    house.engines[session].kill()
    await first.wait_over()
    assert session not in house.registry.live
    assert await house.registry.ensure(session) is not first


async def test_what_cannot_be_started_says_why_and_leaves_nothing(house: Rooms, tmp_path: Path) -> None:
    unknown = await house.create()
    await house.store.write(lambda tx: tx.put_session(tx.session(unknown).model_copy(update={"engine": "gone"})))
    other_kind = await house.create()
    await house.store.write(lambda tx: tx.put_session(tx.session(other_kind).model_copy(update={"engine": "true"})))
    homeless = await house.create()
    nowhere = str(tmp_path / "nowhere")
    await house.store.write(lambda tx: tx.put_session(tx.session(homeless).model_copy(update={"workspace": nowhere})))
    unstartable, archived = await house.create("unstartable"), await house.create()
    await house.supervisor.archive(archived)
    for session, error in (
        (unknown, EngineNotFound),
        (other_kind, EngineFailed),
        (homeless, WorkspaceInvalid),
        (unstartable, EngineFailed),
        (archived, SessionArchived),
        ("s-none", SessionNotFound),
    ):
        with pytest.raises(error):
            await house.registry.ensure(session)
    assert house.registry.live == {}
    assert house.record(unstartable).state is SessionState.idle
    turn = await house.run(homeless, "do it")
    assert (turn.state, turn.reason) == (TurnState.failed, "workspace_invalid")


async def test_a_start_that_cannot_be_written_is_an_error_at_once(house: Rooms) -> None:
    """Who needed the write gets the error, nothing half-done stays, and it is not the session's fault."""
    session = await house.create()
    faults = Faults(house.store)
    for before in range(3):  # before anything is written; before the child is recorded; before it is ready
        with trio.fail_after(10):
            faults.fail(FULL, 10**6, after=before)
            with pytest.raises(StorageFailed):
                await house.registry.ensure(session)
            faults.mend()
            await wait_until(lambda: not house.registry.live)
            assert house.record(session).state is SessionState.idle
    assert house.supervisor.restarts._deaths == {}  # pyright: ignore[reportPrivateUsage]
    await house.registry.ensure(session)


async def test_nothing_is_started_while_the_daemon_stops(house: Rooms) -> None:
    session = await house.create()
    house.registry.admitting = False
    with pytest.raises(ShuttingDown):
        await house.registry.ensure(session)


async def test_a_bug_in_a_session_ends_that_one_alone(house: Rooms, caplog: pytest.LogCaptureFixture) -> None:
    """internal_error there and nothing elsewhere: its turn does not stay running."""
    broken, sound = await house.create(), await house.create()
    turn, other = await house.begun(broken, "hang"), await house.begun(sound, "hang")
    live = house.live(broken)

    async def bug() -> None:
        raise ZeroDivisionError("a bug in a session")

    live.running.start(bug)
    ended = await house.wait(turn)
    assert (ended.state, ended.reason) == (TurnState.failed, "internal_error")
    assert "a bug in a session" in caplog.text and isinstance(live.failure, InternalError)
    await wait_until(lambda: broken not in house.registry.live)
    assert house.record(broken).state is SessionState.idle
    assert (await house.run(broken, "again")).state is TurnState.completed
    await house.supervisor.prompts.cancel(other, "user")
    assert (await house.wait(other)).state is TurnState.cancelled


async def test_too_many_deaths_are_a_failure_in_the_open_until_it_is_rearmed(tmp_path: Path) -> None:
    async with rooms(tmp_path, "[sessions]\nrestart_intensity = 2\n") as house:
        session = await house.create("unstartable")
        for _ in range(2):
            with pytest.raises(EngineFailed):
                await house.registry.ensure(session)
        record = house.record(session)
        assert record.state is SessionState.failed and record.failure is not None
        with pytest.raises(SessionFailed):
            await house.registry.ensure(session)
        answers = await gather(5, lambda: house.supervisor.rearm(session))
        assert answers == [None] * 5, "asked for by several at once it is done once"
        assert house.record(session).state is SessionState.idle
        with pytest.raises(EngineFailed):
            await house.registry.ensure(session)
        assert house.record(session).state is SessionState.idle, "its deaths are counted anew"


async def test_deaths_are_forgotten_after_the_period(tmp_path: Path) -> None:
    """And of other sessions too: nothing is kept of each that ever died."""
    async with rooms(tmp_path, "[sessions]\nrestart_intensity = 2\nrestart_period = '50ms'\n") as house:
        names = [await house.create(f"unstartable-{n}") for n in range(4)]
        for session in names:
            with pytest.raises(EngineFailed):
                await house.registry.ensure(session)
            died = trio.current_time()
            await wait_until(lambda: trio.current_time() > died + 0.05)  # noqa: B023
        assert len(house.supervisor.restarts._deaths) == 1  # pyright: ignore[reportPrivateUsage]


async def test_a_failed_session_is_rearmed_by_time_also_after_a_restart(tmp_path: Path) -> None:
    config = "[sessions]\nrestart_intensity = 1\nrearm = '50ms'\n"
    async with rooms(tmp_path, config) as house:
        session = await house.create("unstartable", after={"failed": "continue"})
        for n in range(2):
            await house.send(session, f"try {n}")
        await wait_until(lambda: house.record(session).queued == 1)
        assert house.record(session).state is SessionState.failed
    async with rooms(tmp_path, config) as house:
        assert house.supervisor.restarts.failed_long_ago() == []
        await wait_until(lambda: house.supervisor.restarts.failed_long_ago() == [session])
        await house.supervisor.rearm(session)
        await wait_until(lambda: not house.record(session).queued)
        await house.supervisor.delete(session, force=True)
        assert house.supervisor.restarts.failed_long_ago() == [] and house.supervisor.restarts._deaths == {}  # pyright: ignore[reportPrivateUsage]


async def test_each_failure_is_waited_for_anew(tmp_path: Path) -> None:
    """Also of one that was re-armed and failed again before anybody looked."""
    async with rooms(tmp_path, "[sessions]\nrestart_intensity = 1\nrearm = '200ms'\n") as house:
        session = await house.create("unstartable")
        for _ in range(2):
            begun = trio.current_time()
            with pytest.raises(EngineFailed):
                await house.registry.ensure(session)
            await wait_until(lambda: house.supervisor.restarts.failed_long_ago() == [session])
            assert trio.current_time() - begun >= 0.2
            await house.supervisor.rearm(session)


async def test_the_least_recently_used_gives_its_child_up(tmp_path: Path) -> None:
    """Never one with a turn; if all are busy the limit is exceeded."""
    async with rooms(tmp_path, "[limits]\nmax_live = 2\n") as house:
        busy = await house.create()
        await house.begun(busy, "hang")
        first, second, third = [await house.create() for _ in range(3)]
        for session in (first, second, third):
            await house.run(session, "keep")
        await wait_until(lambda: set(house.registry.live) == {busy, third})
        more = await house.create()
        await house.begun(more, "hang")
        await house.begun(third, "hang")
        assert set(house.registry.live) == {busy, third, more}
        saved = await house.store.read(lambda conn: checkpoints.load(conn, first, "latest"))
        assert saved is not None, "its state was saved before"


async def test_unload_of_one_that_does_not_live_or_is_busy_is_refused(house: Rooms) -> None:
    """It stays, and is tried again."""
    session = await house.create()
    assert not await house.registry.unloading.unload(session, "idle")
    turn = await house.begun(session, "hang")
    assert not await house.registry.unloading.unload(session, "idle")
    await house.supervisor.prompts.cancel(turn, "user")
    await house.wait(turn)
    await house.run(session, "stuck")
    assert not await house.registry.unloading.unload(session, "idle"), "its state cannot be saved: it stays loaded"
    assert house.live(session).life is Life.serving and house.record(session).state is SessionState.ready


async def test_unload_twice_at_once_is_unload_once(house: Rooms) -> None:
    session = await house.create()
    await house.run(session, "keep")
    answers = await gather(4, lambda: house.registry.unloading.unload(session, "idle"))
    assert answers.count(True) == 1
    assert (await house.kinds(session)).count("session.state_changed") == 6, "starting ready busy ready stopping idle"


async def test_a_session_without_a_child_is_unloaded_too_and_takes_no_place(tmp_path: Path) -> None:
    """Else each session of kind command that was ever used would stay in memory."""
    async with rooms(tmp_path, "[limits]\nmax_live = 1\n") as house:
        used = [await house.create(engine="true") for _ in range(3)]
        for session in used:
            assert (await house.run(session, "x")).state is TurnState.completed
        assert len(house.registry.live) == 3 and house.registry.unloading.due(float("inf")) == []
        assert sorted(house.registry.unloading.due(-1.0)) == sorted(used)
        for session in used:
            assert await house.registry.unloading.unload(session, "idle")
        assert house.registry.live == {}


async def test_alone_nobody_starts_it(house: Rooms) -> None:
    session = await house.create()
    async with trio.open_nursery() as nursery:
        async with house.registry.alone(session):
            nursery.start_soon(house.registry.ensure, session)
            await trio.testing.wait_all_tasks_blocked()
            await house.store.write(lambda tx: sessions.update(tx, session, name="renamed"))
            assert house.registry.live == {}
    assert house.live(session).life is Life.serving


async def test_what_was_read_before_a_delete_does_not_bring_it_back(house: Rooms) -> None:
    """A list that was read slowly must not show, for ever, a session that was deleted meanwhile."""
    doomed, other = await house.create(), await house.create()
    house.registry.records._drop(doomed)  # pyright: ignore[reportPrivateUsage]
    read = house.store.read
    reading, go = trio.Event(), trio.Event()

    async def slow(query: Any) -> Any:
        found = await read(query)
        if query is reads.all_sessions and not reading.is_set():
            reading.set()
            await go.wait()
        return found

    house.store.read = slow  # type: ignore[method-assign]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.supervisor.load_all)
        await reading.wait()
        await house.supervisor.delete((await house.registry.find(doomed)).id)
        go.set()
    assert house.registry.records.by_id(doomed) is None
    assert house.registry.records.by_id(other) is not None and house.registry.records.complete


async def test_work_goes_on_when_its_asker_leaves_and_is_refused_when_the_daemon_ends(tmp_path: Path) -> None:
    done = trio.Event()

    async def work() -> None:
        await trio.testing.wait_all_tasks_blocked()
        done.set()

    async with rooms(tmp_path) as house:
        with trio.move_on_after(0):
            await house.registry.owned(work)
        await done.wait()
        async with trio.open_nursery() as nursery:

            async def late() -> None:
                with trio.CancelScope(shield=True), pytest.raises(ShuttingDown):
                    await house.registry.owned(trio.sleep_forever)

            nursery.start_soon(late)
            await trio.testing.wait_all_tasks_blocked()
            house.registry._nursery.cancel_scope.cancel()  # pyright: ignore[reportPrivateUsage]
