"""A program per turn: its output is a message, its exit status decides, and it is ended when nobody wants it."""

import signal
from pathlib import Path

import pytest
import trio
import trio.testing

from helpers.children import SOCKET, alive, until
from helpers.engine import DEADLINE, GRACE, launch, program, ran, serving, turn
from roost.daemon.core.said import End, Start
from roost.daemon.engines import catalogue
from roost.daemon.process.processes import Processes
from roost.protocol.errors import NotSupported, StorageFailed
from roost.protocol.model import EngineKind, TurnState


async def test_the_prompt_is_an_argument_or_on_stdin(tmp_path: Path) -> None:
    engine, listening = program(tmp_path, "printf", "%s|")
    async with serving(engine):
        ended = await ran(engine, "two words")
    assert (ended.state, ended.exit_code, listening.text) == (TurnState.completed, 0, "two words|")
    assert isinstance(listening.changes[0], Start) and isinstance(listening.changes[-1], End)
    engine, listening = program(tmp_path, "cat", prompt="stdin")
    async with serving(engine):
        assert (await ran(engine, "é" * 300_000)).state is TurnState.completed
    assert listening.text == "é" * 300_000


async def test_its_exit_status_and_its_last_words_decide(tmp_path: Path) -> None:
    engine, listening = program(tmp_path, "sh", "-c")
    async with serving(engine):
        failed = await ran(engine, "echo out; echo so >&2; exit 4")
        killed = await ran(engine, "kill -9 $$")
    assert (failed.state, failed.exit_code) == (TurnState.failed, 4)
    assert failed.problem is not None and failed.problem.name == "turn_failed"
    assert failed.problem.data["stderr"] == "so\n" and listening.text == "out\n"
    assert killed.exit_code == -signal.SIGKILL and listening.children == []


async def test_its_last_words_are_cut_to_what_can_be_kept(tmp_path: Path) -> None:
    engine, _ = program(tmp_path, "sh", "-c")
    async with serving(engine):
        failed = await ran(engine, "printf %07000d 7 >&2; exit 4")
    assert failed.problem is not None and failed.problem.message.endswith("0…")
    assert failed.problem.data["stderr"] == f"{7:07000}" and failed.exit_code == 4


async def test_what_is_not_utf_8_is_replaced_and_a_character_is_not_cut(tmp_path: Path) -> None:
    engine, listening = program(tmp_path, "sh", "-c")
    async with serving(engine):
        await ran(engine, r"printf 'a\303'; sleep 0.05; printf '\251b\377'; sleep 0.05; printf '\303'")
    assert listening.text == "aéb\ufffd\ufffd"


async def test_a_program_that_does_not_read_its_prompt_is_not_wrong(tmp_path: Path) -> None:
    engine, _ = program(tmp_path, "true", prompt="stdin")
    async with serving(engine):
        assert (await ran(engine, "x" * 1_000_000)).state is TurnState.completed
    closes, _ = program(tmp_path, "sh", "-c", "exec <&-; sleep 0.05", prompt="stdin")
    async with serving(closes):
        assert (await ran(closes, "x" * 1_000_000)).state is TurnState.completed


async def test_a_program_that_closes_its_output_is_waited_for(tmp_path: Path) -> None:
    engine, _ = program(tmp_path, "sh", "-c")
    async with serving(engine):
        assert (await ran(engine, "exec >&- 2>&-; sleep 0.1; exit 3")).exit_code == 3


async def test_one_that_cannot_be_started_fails_the_turn(tmp_path: Path) -> None:
    engine, _ = program(tmp_path, "/no/such/program")
    async with serving(engine):
        ended = await ran(engine, "x")
        assert ended.problem is not None and ended.problem.name == "engine_failed"
    engine, listening = program(tmp_path, "true")
    listening.refuse = StorageFailed("the disk is full; free some space")
    async with serving(engine):
        ended = await ran(engine, "x")
        assert ended.problem is not None and ended.problem.name == "storage_failed"


async def test_a_cancel_is_sigterm_and_a_kill_is_not_to_be_survived(tmp_path: Path) -> None:
    engine, listening = program(tmp_path, "sh", "-c")
    async with serving(engine):
        for prompt, asked, code in (
            ("sleep 1000", engine.cancel, -signal.SIGTERM),
            ("trap '' TERM; echo ready; while :; do sleep 1; done", None, -signal.SIGKILL),
        ):
            async with trio.open_nursery() as nursery:
                codes: list[int | None] = []

                async def run(prompt: str = prompt, codes: list[int | None] = codes) -> None:
                    codes.append((await ran(engine, prompt)).exit_code)

                nursery.start_soon(run)
                await until(lambda: listening.children)
                if asked:
                    await asked(turn(prompt), "user")
                else:
                    await until(lambda: "ready" in listening.text)
                    await engine.cancel(turn(prompt), "user")
                    engine.kill()
            assert codes == [code]


@pytest.mark.parametrize("asked", ["cancel", "kill"])
async def test_cancelled_before_it_is_started_it_does_not_start(tmp_path: Path, asked: str) -> None:
    """Else a cancel at that moment would cost its whole grace, and a hung start would never end."""
    processes = Processes(SOCKET, at_once=1)
    made = launch(tmp_path, ["touch", str(tmp_path / "started")], EngineKind.command)
    listening = program(tmp_path, "true")[1]
    engine = catalogue.engine(made, listening, GRACE, processes)
    processes.spawning.acquire_on_behalf_of_nowait(engine)
    async with serving(engine), trio.open_nursery() as nursery:

        async def run() -> None:
            assert (await ran(engine, "x")).state is TurnState.cancelled

        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        if asked == "cancel":
            await engine.cancel(turn("x"), "user")
        else:
            engine.kill()
    processes.spawning.release_on_behalf_of(engine)
    async with serving(again := catalogue.engine(made, listening, GRACE, processes)):
        assert not (tmp_path / "started").exists()
        await again.cancel(turn("x"), "user")
        assert (await ran(again, str(tmp_path / "also"))).state is TurnState.cancelled
        assert (await ran(again, str(tmp_path / "next"))).state is TurnState.completed
    assert not (tmp_path / "also").exists() and (tmp_path / "next").exists()


async def test_a_start_that_hangs_is_given_up(tmp_path: Path) -> None:
    processes = Processes(SOCKET, at_once=1)
    made = launch(tmp_path, ["true"], EngineKind.command)
    engine = catalogue.engine(made, program(tmp_path, "true")[1], GRACE._replace(start=0.1), processes)
    processes.spawning.acquire_on_behalf_of_nowait(engine)
    async with serving(engine):
        ended = await ran(engine, "x")
        assert ended.problem is not None and ended.problem.name == "timed_out"
    processes.spawning.release_on_behalf_of(engine)


async def test_ended_in_the_middle_of_a_turn_the_program_ends_too(tmp_path: Path) -> None:
    engine, listening = program(tmp_path, "sh", "-c")
    async with serving(engine), trio.open_nursery() as nursery:
        nursery.start_soon(ran, engine, "sleep 1000")
        await until(lambda: listening.children)
        pid = engine.pid
        await engine.end()
        assert pid is not None and not alive(pid)
    assert engine.gone.is_set() and engine.pid is None


async def test_cancelled_with_its_task_it_leaves_no_process(tmp_path: Path) -> None:
    engine, listening = program(tmp_path, "sh", "-c")
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run, turn("trap '' TERM; sleep 1000"))
            await until(lambda: listening.children)
            pid = listening.children[0].pid
            nursery.cancel_scope.cancel()
    assert not alive(pid) and listening.children == []


async def test_it_has_no_state(tmp_path: Path) -> None:
    engine, _ = program(tmp_path, "true")
    assert not engine.resident and not engine.saves
    for ask in (engine.state, engine.clear):
        with pytest.raises(NotSupported, match="no state"):
            await ask()
