"""The sweepers: what they unload, what they leave, and that none stops for another's trouble."""

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from helpers.rooms import FULL, Faults, Rooms, rooms
from helpers.waiting import wait_until
from roost.daemon.core.states import Life
from roost.daemon.sessions.janitor import Janitor, every
from roost.daemon.store import Tx, checkpoints, reads, sessions
from roost.protocol.model import SessionState

IDLE = "[sessions]\nidle_unload = '50ms'\nrestart_intensity = 1\nrearm = '50ms'\n"


async def saved(house: Rooms, session: str) -> bool:
    return await house.store.read(lambda conn: checkpoints.load(conn, session, "latest")) is not None


def too_long(house: Rooms) -> set[str]:
    """The sessions that the next sweep would unload."""
    return set(house.registry.unloading.due(house.supervisor.settings.sessions.idle_unload))


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the idle sweeps said that they did."""
    return [text for text in caplog.messages if text.startswith("idle sweep: ")]


async def test_only_what_is_idle_too_long_is_unloaded_and_saved_before(
    tmp_path: Path, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """One that has ended is not there."""
    caplog.set_level("INFO")
    async with rooms(tmp_path, IDLE) as house:
        idle, busy, fresh = [await house.create() for _ in range(3)]
        for session in (idle, fresh):
            await house.run(session, "one")
        await house.begun(busy, "hang")
        janitor = Janitor(house.supervisor)
        for session in (idle, fresh):
            house.live(session).used_at = trio.current_time()
        await janitor.sweep_idle()
        assert told(caplog) == [], "not yet"
        mock_clock.jump(1)
        house.live(fresh).used_at = trio.current_time()
        await janitor.sweep_idle()
        assert told(caplog) == ["idle sweep: 1 unloaded, 0 deferred"]
        assert set(house.registry.live) == {busy, fresh} and await saved(house, idle)


async def test_what_cannot_be_saved_stays_and_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is counted as deferred, and nothing is lost."""
    caplog.set_level("INFO")
    async with rooms(tmp_path, IDLE) as house:
        session = await house.create()
        await house.run(session, "one")
        await wait_until(lambda: session in too_long(house))
        janitor = Janitor(house.supervisor)
        Faults(house.store).fail(FULL)
        await janitor.sweep_idle()
        assert told(caplog) == ["idle sweep: 0 unloaded, 1 deferred"] and house.live(session).life is Life.serving
        await janitor.sweep_idle()
        assert told(caplog)[1:] == ["idle sweep: 1 unloaded, 0 deferred"] and await saved(house, session)


async def test_one_that_hangs_keeps_no_other_waiting(tmp_path: Path) -> None:
    async with rooms(tmp_path, IDLE) as house:
        sessions = [await house.create() for _ in range(5)]
        for session in sessions:
            await house.run(session, "one")
        house.engines[sessions[0]].gates = {"state": trio.Event()}
        await wait_until(lambda: set(sessions) == too_long(house))
        janitor = Janitor(house.supervisor)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(janitor.sweep_idle)
            await wait_until(lambda: set(house.registry.live) == {sessions[0]})
            house.engines[sessions[0]].gates["state"].set()
        assert house.registry.live == {}


async def test_what_failed_long_ago_may_be_tried_again(tmp_path: Path, mock_clock: MockClock) -> None:
    async with rooms(tmp_path, IDLE) as house:
        names = [await house.create(f"unstartable-{n}") for n in range(2)]
        for session in names:
            with pytest.raises(Exception, match="cannot be started"):
                await house.registry.ensure(session)
        janitor = Janitor(house.supervisor)
        await janitor.sweep_failed()
        assert all(house.record(session).state is SessionState.failed for session in names), "not yet"
        mock_clock.jump(1)
        Faults(house.store).fail(FULL)
        await janitor.sweep_failed()
        states = sorted(house.record(session).state for session in names)
        assert states == [SessionState.failed, SessionState.idle], "one could not be written: the other is re-armed"
        await janitor.sweep_failed()
        assert all(house.record(session).state is SessionState.idle for session in names)


async def test_events_and_turns_beyond_the_limits_are_removed(tmp_path: Path) -> None:
    limits = "[retention]\nevents_per_session = 10\nturns_per_session = 3\n"
    async with rooms(tmp_path, limits) as house:
        session = await house.create()
        for n in range(8):
            await house.run(session, f"say {n}")
        await Janitor(house.supervisor).sweep_old()
        events, _, _ = await house.store.read(lambda conn: reads.events(conn, session, 0, 1000, None, 2**30))
        assert events[0].kind == "events.pruned" and len(events) == 11
        assert len(await house.turns(session)) == 3


def age(tx: Tx) -> None:
    """Let all that is there have happened in 1970."""
    tx.conn.execute("UPDATE sessions SET created_at = 0, updated_at = 0, active_at = 0")
    tx.conn.execute("UPDATE turns SET created_at = 0, started_at = 0, ended_at = 0")
    tx.conn.execute("UPDATE events SET at = 0")


async def test_no_session_is_ever_deleted_by_age(tmp_path: Path) -> None:
    """Only its events go, with the smallest max_age that there is: what it knew is there when it is needed again."""
    limits = IDLE + "[retention]\nmax_age = '10ms'\nturns_per_session = 1\n"
    async with rooms(tmp_path, limits) as house:
        ended, archived, unused = [await house.create() for _ in range(3)]
        for session in (ended, archived):
            await house.run(session, "one")
        assert await house.registry.unloading.unload(ended, "idle")
        await house.supervisor.archive(archived)
        await house.store.write(age)
    async with rooms(tmp_path, limits) as house:
        janitor = Janitor(house.supervisor)
        for sweep in (name for name in dir(janitor) if name.startswith("sweep_")):
            await getattr(janitor, sweep)()
        assert [session.id for session in await house.store.read(reads.all_sessions)] == [ended, archived, unused]
        assert [await house.kinds(session) for session in (ended, archived, unused)] == [["events.pruned"]] * 3
        await house.do(sessions.unarchive, archived)
        for session in (ended, archived):
            await house.run(session, "two")
            assert house.engines[session].seen == ["one", "two"]


async def test_a_sweep_begins_at_once_and_survives_its_own_bugs(
    nursery: trio.Nursery, autojump_clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """It ends with its nursery."""
    times: list[float] = []

    async def sweep() -> None:
        times.append(trio.current_time())
        raise ZeroDivisionError("a bug in a sweep")

    begin = trio.current_time()
    with trio.move_on_after(250):
        await every(100.0, "a sweep", sweep)
    assert [round(at - begin) for at in times] == [0, 100, 200]
    assert caplog.text.count("a sweep failed") == 3


async def test_all_sweeps_run(tmp_path: Path) -> None:
    async with rooms(tmp_path, IDLE + "idle_sweep = '10ms'\n") as house:
        session = await house.create()
        await house.run(session, "one")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Janitor(house.supervisor).run)
            await wait_until(lambda: session not in house.registry.live)
            nursery.cancel_scope.cancel()
        assert await saved(house, session)


async def test_the_kept_stderr_of_sessions_that_are_no_more_is_removed(tmp_path: Path) -> None:
    async with rooms(tmp_path) as house:
        session = await house.create()
        files = house.supervisor.launches.stderr
        for known in (session, "s-gone"):
            await files.keeper(known)(b"words")
        await Janitor(house.supervisor).sweep_stderr()
        assert await files.sessions() == [session]
        await house.supervisor.delete(session)
        assert await files.sessions() == []
