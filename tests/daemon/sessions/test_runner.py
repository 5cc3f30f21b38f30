"""The queue runner: drives at once what may run, one drive a session, and loses nothing but time."""

from typing import Any

import pytest
import trio
import trio.testing

from roost.daemon.core.drives import Drives
from roost.daemon.sessions.records import Records
from roost.daemon.sessions.runner import QueueRunner
from roost.daemon.store import Commit
from roost.protocol.model import EngineKind, Session

POLL = 0.4


class Host:
    """Sessions with queued turns. A drive takes one of them, when the test lets it go on."""

    def __init__(self, slots: int = 256) -> None:
        self.records = Records()
        self.runner = QueueRunner(self.records, self.drive, slots=lambda: slots, poll=lambda: POLL)
        self.began: list[tuple[str, float]] = []
        self.under_way: set[str] = set()
        self.gates: dict[str, trio.Event] = {}
        self.bad: set[str] = set()
        self.queued: dict[str, int] = {}

    def queue(self, session: str, turns: int, poke: bool = True) -> None:
        self.queued[session] = turns
        record: dict[str, Any] = {"engine": "e", "kind": EngineKind.worker, "workspace": "/", "created_at": 1}
        found = Session(id=session, updated_at=1, active_at=1, queued=turns, **record)
        self.records.apply(Commit([], {session: found}, []))
        if poke:
            self.runner.poke()

    async def drive(self, session: str) -> bool:
        assert session not in self.under_way, "two drives of one session"
        self.began.append((session, trio.current_time()))
        self.under_way.add(session)
        try:
            if session in self.gates:
                await self.gates[session].wait()
            if session in self.bad:
                raise ZeroDivisionError("the drive fails")
            self.queue(session, self.queued[session] - 1, poke=False)
            return True
        finally:
            self.under_way.discard(session)

    def count(self, session: str) -> int:
        return [one for one, _ in self.began].count(session)


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def test_a_start_drives_all_that_may_run_at_once(nursery: trio.Nursery, autojump_clock: trio.abc.Clock) -> None:
    """N sessions at once, before any poke."""
    host = Host()
    for n in range(100):
        host.gates[f"s-{n}"] = trio.Event()
        host.queue(f"s-{n}", 1, poke=False)
    begin = trio.current_time()
    nursery.start_soon(host.runner.run)
    await settle()
    assert len(host.under_way) == 100 and trio.current_time() == begin


async def test_a_poke_drives_now_and_a_lost_one_costs_a_poll(
    nursery: trio.Nursery, autojump_clock: trio.abc.Clock
) -> None:
    """The poll is the way back for wakes that were lost."""
    host = Host()
    nursery.start_soon(host.runner.run)
    await settle()
    begin = trio.current_time()
    host.queue("s-a", 1)
    await settle()
    assert host.began == [("s-a", begin)]
    host.queue("s-b", 1, poke=False)
    await trio.sleep(POLL)
    await settle()
    assert host.began[1][0] == "s-b" and begin < host.began[1][1] <= begin + POLL


async def test_many_pokes_are_one_look(nursery: trio.Nursery, autojump_clock: trio.abc.Clock) -> None:
    """Nothing is queued for a poke, whatever their number."""
    host = Host()
    host.gates["s-a"] = trio.Event()
    nursery.start_soon(host.runner.run)
    await settle()
    host.queue("s-a", 2)
    for _ in range(10_000):
        host.runner.poke()
    await settle()
    assert host.count("s-a") == 1
    host.gates["s-a"].set()
    await settle()
    assert host.count("s-a") == 2


async def test_a_completion_drives_the_next_turn_without_a_poll(
    nursery: trio.Nursery, autojump_clock: trio.abc.Clock
) -> None:
    host = Host()
    host.queue("s-a", 20)
    begin = trio.current_time()
    nursery.start_soon(host.runner.run)
    await settle()
    assert host.began == [("s-a", begin)] * 20 and host.runner.drives.in_flight == {}


async def test_one_in_flight_a_session_and_others_go_on(nursery: trio.Nursery, autojump_clock: trio.abc.Clock) -> None:
    """A hung drive stops neither poll nor pokes, and its own poke is kept."""
    host = Host()
    host.gates["s-hung"] = trio.Event()
    host.queue("s-hung", 2)
    nursery.start_soon(host.runner.run)
    await settle()
    for _ in range(3):
        host.runner.poke()
        await trio.sleep(POLL)
    assert host.count("s-hung") == 1
    host.queue("s-poked", 1)
    host.queue("s-found", 1, poke=False)
    await trio.sleep(POLL)
    await settle()
    assert host.count("s-poked") == host.count("s-found") == 1
    host.gates["s-hung"].set()
    await settle()
    assert host.count("s-hung") == 2, "what was poked meanwhile is not forgotten"


async def test_a_drive_that_fails_is_logged_and_backs_off(
    nursery: trio.Nursery, autojump_clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """It slows itself and nobody else."""
    host = Host()
    host.bad = {"s-bad"}
    host.queue("s-bad", 1)
    nursery.start_soon(host.runner.run)
    await trio.sleep(60)
    assert 3 <= host.count("s-bad") <= 15
    assert "drive of s-bad failed" in caplog.text
    host.queue("s-good", 5)
    await settle()
    assert host.count("s-good") == 5
    tries = host.count("s-bad")
    host.bad = set()
    host.runner.rearm("s-bad")
    await settle()
    assert host.count("s-bad") == tries + 1, "re-armed by hand it does not wait"


async def test_of_a_deleted_session_no_failure_is_remembered(
    nursery: trio.Nursery, autojump_clock: trio.abc.Clock
) -> None:
    host = Host()
    host.bad = {"s-bad"}
    host.gates["s-bad"] = trio.Event()
    host.queue("s-bad", 1)
    nursery.start_soon(host.runner.run)
    await settle()
    host.records.apply(Commit([], {"s-bad": None}, []))
    host.runner.drives.rearm("s-bad")
    host.gates["s-bad"].set()
    await settle()
    assert host.runner.drives == Drives()


async def test_slots_are_given_in_turn(nursery: trio.Nursery, autojump_clock: trio.abc.Clock) -> None:
    """max_running_turns bounds the whole, and one with a long queue does not keep the others out."""
    host = Host(slots=2)
    for name, turns in (("s-a", 30), ("s-b", 30), ("s-c", 1), ("s-d", 2)):
        host.queue(name, turns)
        host.gates[name] = trio.Event()
    nursery.start_soon(host.runner.run)
    await settle()
    assert len(host.under_way) == 2
    for gate in host.gates.values():
        gate.set()
    await settle()
    order = [name for name, _ in host.began]
    assert order.index("s-c") < 6 and order.index("s-d") < 6, "nobody starves"
    assert len(order) == 63


async def test_a_poke_after_the_end_is_no_error(autojump_clock: trio.abc.Clock) -> None:
    """It can be stopped, and starts nothing after that."""
    host = Host()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.runner.run)
        await settle()
        host.runner.stop()
    host.queue("s-a", 1)
    host.runner.poke()
    await settle()
    assert host.began == []


async def test_begun_again_it_drives_what_was_cut_off(autojump_clock: trio.abc.Clock) -> None:
    """No drive is counted as under way that is not."""
    host = Host(slots=1)
    host.gates["s-a"] = trio.Event()
    host.queue("s-a", 1)
    with trio.move_on_after(0.1):
        await host.runner.run()
    assert host.count("s-a") == 1
    host.gates["s-a"].set()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.runner.run)
        await trio.sleep(60)
        assert host.count("s-a") == 2 and host.queued["s-a"] == 0
        nursery.cancel_scope.cancel()


async def test_how_long_each_drive_is_under_way_can_be_asked(
    nursery: trio.Nursery, autojump_clock: trio.abc.Clock
) -> None:
    host = Host()
    host.gates["s-a"] = trio.Event()
    begin = trio.current_time()
    host.queue("s-a", 1)
    nursery.start_soon(host.runner.run)
    await trio.sleep(5)
    assert host.runner.drives.in_flight == {"s-a": begin}


async def test_sessions_that_fail_together_do_not_come_back_together(
    nursery: trio.Nursery, autojump_clock: trio.abc.Clock
) -> None:
    """Half of each wait is left to chance."""
    host = Host()
    host.bad = {f"s-{n}" for n in range(50)}
    for session in host.bad:
        host.queue(session, 1, poke=False)
    nursery.start_soon(host.runner.run)
    await trio.sleep(60)
    tries = {session: [when for one, when in host.began if one == session] for session in host.bad}
    assert len({whens[0] for whens in tries.values()}) == 1
    assert len({whens[7] for whens in tries.values()}) > 5
