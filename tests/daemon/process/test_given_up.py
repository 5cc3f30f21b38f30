"""A start that nobody waits for any more: all that comes of it ends, and nothing else."""

import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
import trio

from helpers.children import ENV, SOCKET, descriptors, line, marked, python, spawn, until
from roost.daemon.process import look, order, proc
from roost.daemon.process import spawn as module
from roost.daemon.process.processes import Processes
from roost.daemon.process.trees import Census

OWN = f"s-{uuid.uuid4().hex}"
"""A session that no other run of these tests has."""


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is started has begun to run before its start is told of."""
    started = module._started  # pyright: ignore[reportPrivateUsage]

    def slowly(*args: Any) -> Any:
        found = started(*args)
        threading.Event().wait(0.1)
        return found

    monkeypatch.setattr(module, "_started", slowly)


async def _given_up(processes: Processes) -> None:
    with trio.move_on_after(0.05) as scope:
        await spawn(["setsid", "-f", "sleep", "4321"], processes=processes, session=OWN)
    assert scope.cancelled_caught


@pytest.mark.usefixtures("late")
async def test_a_start_that_was_given_up_leaves_nothing_that_it_forked() -> None:
    """It has left its group by then: all of the tree ends, and then the session starts again."""
    before = descriptors()
    processes = Processes(SOCKET)
    await _given_up(processes)
    assert not list(marked(f"ROOST_SESSION={OWN}")) and descriptors() <= before
    async with await spawn(python("print('here')"), processes=processes, session=OWN) as child:
        assert await line(child) == "here"


@pytest.mark.usefixtures("late")
async def test_what_was_given_up_is_ended_though_a_look_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than who gave it up waits: it is reaped all the same, and the session's next child is spared."""
    take = look._Walk.take  # pyright: ignore[reportPrivateUsage]

    def slowly(walk: Any, *args: Any) -> Census:
        threading.Event().wait(0.3)
        return take(walk, *args)

    monkeypatch.setattr(look._Walk, "take", slowly)  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(order, "PARTING", 0.01)
    before = descriptors()
    processes = Processes(SOCKET)
    await _given_up(processes)
    async with await spawn(python("print('here'); input()"), processes=processes, session=OWN) as child:
        assert await line(child) == "here"
        await until(lambda: list(processes.children) == [child.pid])
        await processes.look()
        assert child.returncode is None
    assert not list(marked(f"ROOST_SESSION={OWN}")) and descriptors() <= before


@pytest.mark.usefixtures("late")
async def test_the_daemons_end_waits_for_starts_that_were_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "PARTING", 0.0)
    processes = Processes(SOCKET)
    await _given_up(processes)
    await processes.end_strays(20, OWN.__eq__)
    assert not list(marked(f"ROOST_SESSION={OWN}")) and not processes.children


async def test_what_lost_its_child_is_ended_with_the_daemon() -> None:
    """It bears the mark of a session that has no child: nobody else would look for it."""
    processes = Processes(SOCKET)
    env = {**ENV, "ROOST_SESSION": OWN, "ROOST_DAEMON": processes.socket}
    await trio.run_process(["setsid", "-f", "sleep", "4321"], env=env)
    await until(lambda: any(marked(f"ROOST_SESSION={OWN}")))
    await processes.end_strays(20, OWN.__eq__)
    assert not list(marked(f"ROOST_SESSION={OWN}"))


async def test_a_chain_of_forks_that_lost_its_child_is_ended_with_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look reads its lists so late that every link in them has gone: it is not to be believed."""
    listed, lists = proc.pids, [0.1, 0.1]

    def late() -> set[int]:
        found = listed()
        if lists:
            threading.Event().wait(lists.pop())
        return found

    processes, links = Processes(SOCKET), tmp_path / "links"
    env = {**ENV, "ROOST_SESSION": OWN, "ROOST_DAEMON": processes.socket}
    await trio.run_process(["setsid", "-f", "sh", "-c", f"f() {{ echo >>{links}; sleep 0.02; f & }}; f"], env=env)
    await until(links.exists)
    monkeypatch.setattr(proc, "pids", late)
    await processes.end_strays(20, OWN.__eq__)
    made = links.stat().st_size
    for _ in range(20):
        assert not list(marked(f"ROOST_SESSION={OWN}"))
    assert links.stat().st_size == made, "one that lives would have made the next"
