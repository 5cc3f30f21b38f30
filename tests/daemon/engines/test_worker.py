"""A worker process: what it says and how it ends, however it behaves. The child is a real one."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from helpers.children import SOCKET, alive, until
from helpers.engine import DEADLINE, GRACE, Listening, launch, ran, refusal, serving, started, turn, worker
from helpers.engines import ODD
from roost.daemon.engines import catalogue
from roost.daemon.engines.engine import Ended
from roost.daemon.engines.line import Handler
from roost.daemon.engines.resident import Resident
from roost.daemon.engines.worker import WorkerDialect
from roost.daemon.process.processes import Processes
from roost.protocol import rpc
from roost.protocol import worker as wire
from roost.protocol.errors import (
    EngineFailed,
    LimitReached,
    NotSupported,
    StorageFailed,
    TimedOut,
    WorkerExited,
    WorkerViolation,
)
from roost.protocol.model import TurnState


async def test_a_turn_its_words_and_its_state(tmp_path: Path) -> None:
    engine, listening = worker(tmp_path, state=rpc.pack(["before"]), interrupted={"input": "what ran"})
    async with serving(engine):
        assert engine.saves and engine.pid == listening.children[0].pid
        assert await ran(engine, "say hello") == Ended(TurnState.completed)
        saved = await ran(engine, "save")
        assert listening.text == "hello" and len(listening.changes) == 3
        assert saved.engine_state is not None
        expected = ["before", "interrupted: what ran", "say hello", "save"]
        assert rpc.unpack(saved.engine_state) == rpc.unpack((await engine.state()).state) == expected
        emptied = await engine.clear()
        assert emptied is not None and rpc.unpack(emptied) == []
    assert listening.children == [] and engine.problem is None


async def test_a_worker_without_state_says_so(tmp_path: Path) -> None:
    engine, _ = worker(tmp_path, "lazy")
    async with serving(engine):
        assert not engine.saves
        with pytest.raises(NotSupported, match="no state that can be cleared"):
            await engine.clear()
        assert rpc.unpack((await engine.state()).state) == []


async def test_a_worker_that_asks_something_unknown_is_refused_and_lives(tmp_path: Path) -> None:
    engine, listening = worker(tmp_path)
    async with serving(engine):
        for _ in range(2):
            assert (await ran(engine, "ask weather.get")).state is TurnState.completed
        assert listening.text == "method_not_found" * 2


@pytest.mark.parametrize(("first", "answered"), [("state", "t-1"), ("turn", "t-2")])
async def test_a_state_says_which_turn_was_answered_before_it(tmp_path: Path, first: str, answered: str) -> None:
    """Also when both answers come in one piece, and whoever waits for them goes on in any order."""
    engine, _ = worker(tmp_path)
    async with serving(engine):
        assert (await engine.state()).answered is None
        for _ in range(5):
            await engine.run(turn("say it", "t-1"))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(engine.run, turn(f"meet {first}", "t-2"))
                await trio.testing.wait_all_tasks_blocked()
                told = await engine.state()
            assert told.answered == answered


@pytest.mark.parametrize(
    ("mode", "error", "says"),
    [
        (("rubbish",), WorkerViolation, "broke the worker protocol"),
        (("exit",), WorkerExited, "exited with status 1: odd: exits at once"),
        (("old",), WorkerViolation, "speaks protocol 99"),
        (("refuses", "session_archived"), WorkerViolation, "answered initialize with session_archived"),
    ],
)
async def test_one_that_cannot_start_says_why_and_leaves_nothing(
    tmp_path: Path, mode: tuple[str, ...], error: type[Exception], says: str
) -> None:
    engine, listening = worker(tmp_path, *mode)
    refused = await refusal(engine)
    assert isinstance(refused, error) and says in refused.message
    assert engine.gone.is_set() and listening.children == []


async def test_a_mute_one_is_given_up_after_its_time(tmp_path: Path) -> None:
    engine, listening = worker(tmp_path, "mute", grace=GRACE._replace(start=0.3))
    refused = await refusal(engine)
    assert isinstance(refused, TimedOut) and "initialize" in refused.message
    assert listening.children == [] and engine.gone.is_set()


async def test_a_program_that_does_not_exist_is_gone_at_once(tmp_path: Path) -> None:
    """Whoever ends it meanwhile must not wait for ever."""
    engine = catalogue.engine(launch(tmp_path, ["/no/such/program"]), worker(tmp_path)[1], GRACE, Processes(SOCKET))
    assert isinstance(await refusal(engine), EngineFailed)
    with trio.fail_after(DEADLINE):
        await engine.end()


async def test_a_start_that_hangs_is_given_up(tmp_path: Path) -> None:
    """A spawn waits for its place here, as it would for a dead file system."""
    processes = Processes(SOCKET, at_once=1)
    engine = catalogue.engine(launch(tmp_path, ["true"]), worker(tmp_path)[1], GRACE._replace(start=0.1), processes)
    async with processes.spawning:
        refused = await refusal(engine)
    assert isinstance(refused, TimedOut) and "true was not started" in refused.message


async def test_a_child_that_cannot_be_recorded_is_not_kept(tmp_path: Path) -> None:
    """What a next daemon could not find must not run."""
    engine, listening = worker(tmp_path)
    listening.refuse = StorageFailed("the disk is full; free some space")
    assert await refusal(engine) is listening.refuse
    assert engine.gone.is_set()


@pytest.mark.parametrize("asked", ["end", "kill"])
async def test_asked_to_end_before_it_is_there_it_does_not_start(tmp_path: Path, asked: str) -> None:
    processes = Processes(SOCKET, at_once=1)
    engine = catalogue.engine(launch(tmp_path, ["sleep", "1000"]), worker(tmp_path)[1], GRACE, processes)
    processes.spawning.acquire_on_behalf_of_nowait(engine)
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:

            async def start() -> None:
                with pytest.raises(WorkerExited):
                    await nursery.start(started, engine)

            nursery.start_soon(start)
            await trio.testing.wait_all_tasks_blocked()
            if asked == "kill":
                engine.kill()
            else:
                nursery.start_soon(engine.end)
            await trio.testing.wait_all_tasks_blocked()
            processes.spawning.release_on_behalf_of(engine)
    assert engine.gone.is_set()


@pytest.mark.parametrize(
    ("prompt", "name", "says"),
    [
        ("die 7", "worker_exited", "exited with status 7: odd: last words"),
        ("kill", "worker_exited", "was ended by signal 9"),
        ("rubbish", "worker_violation", "broke the worker protocol"),
        ("unknown", "worker_violation", "no.such"),
        ("item", "worker_violation", "is not open"),
        ("data 200000", "worker_violation", "data has"),
        ("wrong", "worker_violation", "status must be str"),
        ("error session_archived", "worker_violation", "session_archived"),
        ("error worker_exited", "worker_violation", "worker_exited"),
        ("hush", "worker_violation", "closed its stdout"),
    ],
)
async def test_a_turn_fails_by_what_its_child_did(tmp_path: Path, prompt: str, name: str, says: str) -> None:
    engine, listening = worker(tmp_path)
    async with serving(engine):
        ended = await ran(engine, prompt)
        assert ended.state is TurnState.failed and ended.problem is not None
        assert ended.problem.name == name and says in ended.problem.message
        assert "stderr" in ended.problem.data
        await engine.gone.wait()
        with pytest.raises((WorkerExited, WorkerViolation)):
            await engine.state()
    assert listening.children == [] and engine.problem == ended.problem
    assert (ended.exit_code == 7) is (prompt == "die 7")


async def test_what_a_worker_answers_is_cut_to_what_can_be_kept(tmp_path: Path) -> None:
    engine, _ = worker(tmp_path)
    async with serving(engine):
        shouted = await ran(engine, "shout 2000000")
        assert shouted.problem is not None and shouted.problem.message == wire.shortened("x" * 2_000_000)
        assert shouted.problem.data == {"truncated": True}
        huge = await ran(engine, f"code {2**63}")
        assert huge.state is TurnState.failed and huge.exit_code is None
        assert (await ran(engine, f"coded {2**63}")).exit_code is None
        assert (await ran(engine, "coded 7")).exit_code == 7
        assert (await ran(engine, "code 3")).exit_code == 3
        failed = await ran(engine, "fail it broke")
        assert failed.problem is not None and failed.problem.message == "it broke"


async def test_a_state_that_could_not_be_restored_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that is said in the turn: else nobody would know until it is lost."""
    monkeypatch.setattr(wire, "MOST_STATE", 1000)
    engine, listening = worker(tmp_path)
    async with serving(engine):
        await ran(engine, "hoard 2000")
        ended = await ran(engine, "save")
        assert ended.state is TurnState.completed and ended.engine_state is None
        assert "the state is not saved: the state of session" in listening.text
        with pytest.raises(LimitReached, match="may have 1000"):
            await engine.state()
        monkeypatch.setattr(wire, "MOST_STATE", 0)
        with pytest.raises(LimitReached, match="may have 0"):
            await engine.clear()


async def test_a_cancel_is_asked_for(tmp_path: Path) -> None:
    engine, _ = worker(tmp_path)
    async with serving(engine), trio.open_nursery() as nursery:

        async def wait() -> None:
            assert (await ran(engine, "wait")).state is TurnState.cancelled

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked(0.05)
        await engine.cancel(turn("wait"), "user")


async def test_one_that_does_not_answer_is_a_timeout(tmp_path: Path) -> None:
    engine, _ = worker(tmp_path, grace=GRACE._replace(request=0.2))
    async with serving(engine):
        assert engine.pid is not None
        os.kill(engine.pid, signal.SIGSTOP)
        with pytest.raises(TimedOut, match=r"checkpoint within 0\.2 s"):
            await engine.state()
        os.kill(engine.pid, signal.SIGCONT)
        assert rpc.unpack((await engine.state()).state) == [], "its late answer is nobody's, and the next one is right"


async def test_asked_to_end_it_ends_by_itself(tmp_path: Path) -> None:
    engine, listening = worker(tmp_path)
    async with serving(engine):
        pid = engine.pid
        await engine.end()
        assert pid is not None and not alive(pid)
        await engine.end()
    assert engine.problem is None and listening.children == []


@pytest.mark.parametrize("mode", ["stubborn", "well"])
async def test_one_that_hears_neither_shutdown_nor_sigterm_is_killed(tmp_path: Path, mode: str) -> None:
    engine, _ = worker(tmp_path, mode, grace=GRACE._replace(stop=0.2, term=0.2))
    async with serving(engine):
        assert engine.pid is not None
        if mode == "well":
            os.kill(engine.pid, signal.SIGSTOP)
        with trio.fail_after(5):
            await engine.end()
    assert engine.gone.is_set() and engine.problem is None


async def test_killed_it_is_gone_and_that_is_no_problem(tmp_path: Path) -> None:
    engine, _ = worker(tmp_path)
    async with serving(engine):
        engine.kill()
        with trio.fail_after(DEADLINE):
            await engine.gone.wait()
        with pytest.raises(WorkerExited, match="was ended"):
            await engine.state()
        ended = await engine.run(turn("say too late"))
        assert ended.problem is not None and ended.problem.name == "worker_exited"
    assert engine.problem is None


async def test_cancelled_it_leaves_no_process(tmp_path: Path) -> None:
    """The daemon's end: also what is just being asked must not hold it."""
    engine, _ = worker(tmp_path, "stubborn")
    async with trio.open_nursery() as nursery:
        await nursery.start(started, engine)
        nursery.cancel_scope.cancel()
    pid = engine.pid
    assert pid is not None
    await until(lambda: not alive(pid))


async def test_after_its_turn_nothing_is_heard(tmp_path: Path) -> None:
    engine, listening = worker(tmp_path)
    async with serving(engine):
        with trio.move_on_after(0.1):
            await engine.run(turn("wait"))
        heard = len(listening.changes)
        await ran(engine, "count 10")
        assert len(listening.changes) == heard + 30


async def test_one_that_is_idle_has_no_task_beside_its_own(tmp_path: Path, nursery: trio.Nursery) -> None:
    """Hundreds of them are live: each task of each is 3 kB."""
    engine, _ = worker(tmp_path)
    await nursery.start(started, engine)
    for _ in range(2):
        await trio.testing.wait_all_tasks_blocked(0.01)
        [serving] = nursery.child_tasks
        assert [set(inner.child_tasks) for inner in serving.child_nurseries] == [set()]
        assert (await ran(engine, "say hello")).state is TurnState.completed
    engine.kill()
    await engine.end()


class Asking(WorkerDialect):
    """A protocol in which a worker may ask whether it may go on."""

    def _handlers(self) -> dict[str, Handler]:
        self.waits, self.answer, self.given_up = trio.Event(), trio.Event(), trio.Event()
        return {"may.i": self._may}

    async def _may(self, params: dict[str, Any]) -> dict[str, Any]:
        async def answer() -> dict[str, Any]:
            self.waits.set()
            try:
                await self.answer.wait()
            finally:
                self.given_up.set()
            raise NotSupported("no; do something else")

        return await self._listener.waiting(answer)


def asking(workspace: Path) -> tuple[Resident, Listening, Asking]:
    listening, dialects = Listening(), list[Asking]()

    def speaks(*given: Any) -> Asking:
        dialects.append(Asking(*given))
        return dialects[0]

    made = launch(workspace, [sys.executable, str(ODD)])
    return Resident(made, listening, GRACE, Processes(SOCKET), speaks), listening, dialects[0]


async def test_a_worker_asks_and_its_turn_waits(tmp_path: Path) -> None:
    engine, listening, dialect = asking(tmp_path)
    async with serving(engine), trio.open_nursery() as nursery:
        nursery.start_soon(ran, engine, "ask may.i")
        await dialect.waits.wait()
        assert rpc.unpack((await engine.state()).state) == ["ask may.i"], "the line is free meanwhile"
        dialect.answer.set()
        await until(lambda: listening.text == "not_supported")


async def test_what_a_worker_asks_ends_with_its_turn(tmp_path: Path) -> None:
    engine, _, dialect = asking(tmp_path)
    async with serving(engine):
        with trio.CancelScope() as turns_end:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(engine.run, turn("ask may.i"))
                await dialect.waits.wait()
                turns_end.cancel()
        with trio.fail_after(DEADLINE):
            await dialect.given_up.wait()
