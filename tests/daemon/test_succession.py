"""What a start does by what the store says of those before; tests/end_to_end/test_predecessor.py has real ones."""

import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import trio

from helpers.children import ENV, SOCKET, alive, line, python, spawn, until
from helpers.ledger import Ledger
from roost.daemon import succession
from roost.daemon.process import proc
from roost.daemon.process.processes import Processes
from roost.daemon.sessions.launch import keeper_of
from roost.daemon.store import Child, Store, children
from roost.daemon.store.children import Keeper
from roost.protocol.errors import DaemonRunning

FORMER = f"{SOCKET}.former"
DATA = Path(__file__).parents[1] / "data"
LEAVES = """
import os, subprocess
apart = subprocess.Popen(["sleep", "600"], start_new_session=True, env={})
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    os.execvp("sleep", ["sleep", "600"])
os.wait()
print(apart.pid, flush=True)
input()
"""
"""Starts a process that leaves its session and its environment, and one whose parents are gone."""


@pytest.fixture
def bearer(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Bears the mark of a session of this store, and of a dead daemon that kept it, on another socket."""
    with closing(Ledger(tmp_path / "roost.db")) as ledger:
        session = ledger.create().id
        ledger.do(children.keeps, Keeper(os.getpid(), 1, proc.boot_id(), FORMER, "0:0"))
    env = {**ENV, "ROOST_SESSION": session, "ROOST_DAEMON": FORMER}
    with subprocess.Popen(["sleep", "600"], env=env, start_new_session=True) as process:
        yield process
        process.kill()


async def succeeded(folder: Path) -> Keeper | None:
    """The keeper that is known after a start."""
    store, mine = Store.open(folder / "roost.db", used=True), keeper_of(folder, SOCKET)
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        assert (await succession.succeed(store, Processes(SOCKET), mine)).stuck == {}
        assert await store.read(children.recorded) == []
        keeper = await store.read(children.keeper)
        nursery.cancel_scope.cancel()
    store.close()
    assert keeper == mine
    return keeper


async def test_the_marks_of_a_dead_daemon_on_another_socket_are_known(
    bearer: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    await succeeded(tmp_path)
    assert bearer.wait(10) == -9


async def test_what_bears_the_mark_of_a_socket_that_cannot_be_asked_is_left(
    bearer: "subprocess.Popen[bytes]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is on a mount that hangs."""
    answers = threading.Event()

    def hanging(path: str) -> bool:
        return answers.wait()

    monkeypatch.setattr(succession, "ASKING", 0.01)
    monkeypatch.setattr(succession, "listened_on", hanging)
    try:
        await succession.refuse_copy(tmp_path / "roost.db", keeper_of(tmp_path, SOCKET))
        await succeeded(tmp_path)
    finally:
        answers.set()
    assert bearer.poll() is None and f"whether a daemon listens on {FORMER} was not found out" in caplog.text


async def test_all_children_of_one_owner_are_ended_with_all_that_they_started(tmp_path: Path) -> None:
    """Their daemon was killed; here it is one that has forgotten them."""
    with closing(Ledger(tmp_path / "roost.db")) as ledger:
        session, dead = ledger.create().id, Processes(SOCKET)
        started = [await spawn(python(LEAVES), processes=dead, session=session) for _ in range(2)]
        for child in started:
            ledger.do(children.spawned, Child(session, child.root.leaf, *child.identity))
        apart = [int(await line(child)) for child in started]
    double = [
        one.pid for one in (await dead.look()).of([session]) if one.pid not in (*apart, *(c.pid for c in started))
    ]
    assert len(double) == 2
    await succeeded(tmp_path)
    await until(lambda: not any(map(alive, [*apart, *double, *(child.pid for child in started)])))
    for child in started:
        await child.aclose()


async def test_a_child_that_an_older_version_has_recorded_is_ended(tmp_path: Path) -> None:
    """Its record and its mark know only the session."""
    shutil.copy(DATA / "v3.db", tmp_path / "roost.db")
    with ExitStack() as ends:
        store = ends.enter_context(closing(sqlite3.connect(tmp_path / "roost.db")))
        (session,) = store.execute("SELECT id FROM sessions LIMIT 1").fetchone()
        env = {**ENV, "ROOST_SESSION": session, "ROOST_DAEMON": FORMER}
        command = ["sh", "-c", "setsid sleep 600 & exec env -i sleep 600"]
        process = ends.enter_context(subprocess.Popen(command, env=env, start_new_session=True))  # noqa: ASYNC220
        ends.callback(process.kill)
        identity = proc.stat(process.pid)
        assert identity
        row = session, process.pid, identity.start_time, proc.boot_id(), process.pid, process.pid
        store.execute("INSERT INTO children VALUES (?, ?, ?, ?, ?, ?)", row)
        store.execute("INSERT INTO daemons VALUES (1, 1, ?, ?)", (proc.boot_id(), os.fsencode(FORMER)))
        store.commit()
        await until(lambda: len(list(below(process.pid))) == 1)
        left = list(below(process.pid))
        await succeeded(tmp_path)
        assert process.wait(10) == -9 and not any(map(alive, left))


def below(pid: int) -> Iterator[int]:
    """The children of a process that sleep by now."""
    return (one.pid for one in proc.walk() if one.ppid == pid and one.comm == b"sleep")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    with closing(Ledger(tmp_path / "roost.db")):
        return tmp_path / "roost.db"


def kept_by(database: Path, keeper: Keeper) -> None:
    with closing(Ledger(database, used=True)) as ledger:
        ledger.do(children.keeps, keeper)


async def test_a_copy_of_a_database_that_another_daemon_serves_is_refused(database: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as other:  # noqa: ASYNC220
        found = proc.stat(other.pid)
        assert found
        keeper = Keeper(other.pid, found.start_time, proc.boot_id(), SOCKET, "1:1")
        kept_by(database, keeper)
        mine = keeper_of(database.parent, SOCKET)
        with pytest.raises(
            DaemonRunning, match=rf"is a copy .* roostd \(pid {other.pid}\) serves .*stop that"
        ) as caught:
            await succession.refuse_copy(database, mine)
        assert caught.value.data["pid"] == other.pid
        # This very directory: the lock has told that it is given up.
        kept_by(database, keeper._replace(directory=mine.directory))
        await succession.refuse_copy(database, mine)
        kept_by(database, keeper._replace(start_time=1))  # its pid is another one's now
        await succession.refuse_copy(database, mine)
        kept_by(database, keeper._replace(boot_id="another"))
        await succession.refuse_copy(database, mine)
        kept_by(database, keeper)
        other.kill()
    await succession.refuse_copy(database, mine)


async def test_a_copy_is_refused_though_its_original_was_started_again(database: Path) -> None:
    socket = str(database.parent / "original.sock")
    kept_by(database, Keeper(1, 1, "another", socket, "1:1"))
    mine = keeper_of(database.parent, SOCKET)
    await succession.refuse_copy(database, mine)
    with trio.socket.socket(trio.socket.AF_UNIX) as listener:
        await listener.bind(socket)
        listener.listen()
        with pytest.raises(DaemonRunning, match=r"that a roostd serves at .*original\.sock; stop that one first"):
            await succession.refuse_copy(database, mine)
