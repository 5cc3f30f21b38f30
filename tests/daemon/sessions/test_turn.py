"""One running turn: what it ends as, whoever else wanted something of it at the same moment."""

from pathlib import Path

import pytest
import trio

from helpers.rooms import FULL, Faults, Rooms, rooms
from helpers.waiting import wait_until
from roost.daemon.core.said import Start
from roost.daemon.core.states import Life
from roost.daemon.sessions import recorder
from roost.daemon.sessions.turn import RunningTurn
from roost.daemon.store import turns
from roost.protocol.errors import OutcomeUnknown
from roost.protocol.model import DAEMON, ItemKind, SessionState, Turn, TurnState

QUICK = "[sessions]\ncancel_grace = '50ms'\n"


async def running(house: Rooms, prompt: str = "hang", **params: int) -> tuple[str, RunningTurn]:
    """A session and its turn, which is with the engine."""
    session = await house.create()
    await house.begun(session, prompt, **params)
    turn = house.live(session).running.turn
    assert turn is not None
    return session, turn


async def test_what_the_engine_answers_is_what_it_ends_as(house: Rooms) -> None:
    session = await house.create(after={"failed": "continue"})
    completed = await house.run(session, "say it")
    failed = await house.run(session, "fail")
    died = await house.run(session, "die")
    assert [(turn.state, turn.reason) for turn in (completed, failed, died)] == [
        (TurnState.completed, None),
        (TurnState.failed, "turn_failed"),
        (TurnState.failed, "worker_exited"),
    ]
    assert died.exit_code == 3 and died.duration is not None and died.duration >= 0


async def test_a_bug_in_an_engine_fails_the_turn_and_ends_the_child(
    house: Rooms, caplog: pytest.LogCaptureFixture
) -> None:
    session = await house.create()
    turn = await house.run(session, "bug")
    assert (turn.state, turn.reason) == (TurnState.failed, "internal_error")
    assert "a bug in the engine" in caplog.text
    await wait_until(lambda: session not in house.registry.live)
    assert (await house.run(session, "say it")).state is TurnState.completed


async def test_a_cancelled_turn_is_cancelled_whatever_its_engine_answered(house: Rooms) -> None:
    """The first end wins, and what comes after the cancel does not matter."""
    session, turn = await running(house, "hang")
    await house.store.write(lambda tx: turns.request_cancel(tx, turn.turn.id, reason="policy", author=DAEMON))
    house.engines[session]._cancelled.set()  # pyright: ignore[reportPrivateUsage]
    ended = await house.wait(turn.turn.id)
    assert (ended.state, ended.reason) == (TurnState.cancelled, "policy")


async def test_one_that_does_not_obey_is_ended_with_its_child(tmp_path: Path) -> None:
    """Its child's end is wanted, so it is no death."""
    async with rooms(tmp_path, QUICK) as house:
        session, turn = await running(house, "deaf")
        await house.supervisor.prompts.cancel(turn.turn.id, "user")
        assert (await house.wait(turn.turn.id)).state is TurnState.cancelled
        await wait_until(lambda: session not in house.registry.live)
        assert house.record(session).state is SessionState.idle
        assert house.supervisor.restarts._deaths == {}  # pyright: ignore[reportPrivateUsage]


async def test_its_timeout_ends_it(tmp_path: Path) -> None:
    async with rooms(tmp_path, QUICK) as house:
        session = await house.create()
        long = await house.run(session, "hang", timeout=30)
        assert (long.state, long.reason) == (TurnState.cancelled, "timeout")
        assert long.problem is not None and long.problem.data == {"limit": "timeout"}
        silent = await house.run(session, "hang", idle_timeout=30)
        assert silent.problem is not None and silent.problem.data == {"limit": "idle_timeout"}


async def test_a_timeout_after_a_cancel_is_not_its_reason(tmp_path: Path) -> None:
    """The first reason stays, and no other is told beside it."""
    async with rooms(tmp_path, "[sessions]\ncancel_grace = '200ms'\n") as house:
        _, turn = await running(house, "deaf", timeout=100)
        await house.supervisor.prompts.cancel(turn.turn.id, "user")
        ended = await house.wait(turn.turn.id)
        assert (ended.state, ended.reason, ended.problem) == (TurnState.cancelled, "user", None)


async def test_interrupted_it_is_asked_and_ends_without_its_engine(tmp_path: Path) -> None:
    """Its child is still wanted, for its state is to be saved."""
    async with rooms(tmp_path, QUICK) as house:
        session, turn = await running(house, "deaf")
        turn.interrupt("daemon_shutdown")
        ended = await house.wait(turn.turn.id)
        assert (ended.state, ended.reason) == (TurnState.interrupted, "daemon_shutdown")
        assert house.live(session).life is Life.serving and "cancel" in house.engines[session].entered


async def test_what_was_cancelled_before_the_stop_is_cancelled(tmp_path: Path) -> None:
    async with rooms(tmp_path, QUICK) as house:
        _, turn = await running(house, "deaf")
        await house.supervisor.prompts.cancel(turn.turn.id, "user")
        turn.interrupt("daemon_shutdown")
        ended = await house.wait(turn.turn.id)
        assert (ended.state, ended.reason) == (TurnState.cancelled, "user")


async def test_what_had_its_answer_before_the_stop_is_not_interrupted(
    house: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "RETRY", 0.01)
    session = await house.create()
    live = await house.registry.ensure(session)
    house.gates["run"] = trio.Event()
    turn = await house.send(session, "say it")
    await wait_until(lambda: live.running.turn)
    assert live.running.turn is not None
    faults = Faults(house.store)
    faults.fail(FULL, 10**6)
    house.gates.pop("run").set()
    await wait_until(lambda: live.running.turn and live.running.turn.ended)
    live.running.turn.interrupt("daemon_shutdown")
    faults.mend()
    assert (await house.wait(turn)).state is TurnState.completed


@pytest.mark.parametrize(("done_first", "reason"), [(True, "outcome_unknown"), (False, "outcome_unknown")])
async def test_a_turn_whose_words_may_be_lost_fails_with_that_reason(
    house: Rooms, done_first: bool, reason: str
) -> None:
    session, turn = await running(house, "hang")
    Faults(house.store).fail(OutcomeUnknown("it may be on disk; ask again"), done_first=done_first)
    await house.live(session).child.said(Start("i-1", ItemKind.status, "", {}))
    ended = await house.wait(turn.turn.id)
    assert (ended.state, ended.reason) == (TurnState.failed, reason)
    assert "cancel" in house.engines[session].entered, "it need not go on"


async def test_a_turn_that_says_too_much_at_once_fails_and_the_session_lives(house: Rooms) -> None:
    """An event over 1 MiB is refused; that must not leave a turn that can never end."""
    session, turn = await running(house, "hang")
    await house.live(session).child.said(Start("i-1", ItemKind.status, "", {"x": "x" * 2_000_000}))
    ended = await house.wait(turn.turn.id)
    assert (ended.state, ended.reason) == (TurnState.failed, "limit_reached")
    assert (await house.run(session, "say it")).state is TurnState.completed


async def test_a_turn_whose_end_cannot_be_told_lets_nobody_wait_for_ever(house: Rooms) -> None:
    """Its drive comes back, its session is settled, the next turn runs."""
    session, turn = await running(house, "hang")
    broken = turns.end

    def end(*args: object, **kwargs: object) -> Turn:
        turns.end = broken
        raise ZeroDivisionError("a bug at the end of a turn")

    turns.end = end
    house.engines[session]._cancelled.set()  # pyright: ignore[reportPrivateUsage]
    ended = await house.wait(turn.turn.id)
    assert (ended.state, ended.reason) == (TurnState.failed, "internal_error")
    await wait_until(lambda: session not in house.registry.live)
    assert (await house.run(session, "say it")).state is TurnState.completed
    assert house.supervisor.runner.drives.in_flight == {}
