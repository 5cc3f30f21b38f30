"""What a start does by what the store says of those before; tests/end_to_end/test_predecessor.py has real ones."""

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio

from helpers.children import ENV, SOCKET
from helpers.ledger import Ledger
from roost.daemon import succession
from roost.daemon.process import proc
from roost.daemon.process.processes import Processes
from roost.daemon.store import Store, children
from roost.daemon.store.children import Keeper

FORMER = f"{SOCKET}.former"


@pytest.fixture
def bearer(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Bears the mark of a session of this store, and of a dead daemon that kept it, on another socket."""
    with closing(Ledger(tmp_path / "roost.db")) as ledger:
        session = ledger.create().id
        ledger.do(children.keeps, Keeper(os.getpid(), 1, proc.boot_id(), FORMER))
    env = {**ENV, "ROOST_SESSION": session, "ROOST_DAEMON": FORMER}
    with subprocess.Popen(["sleep", "600"], env=env, start_new_session=True) as process:
        yield process
        process.kill()


async def succeeded(folder: Path) -> list[Keeper]:
    """The keepers that are still known after a start."""
    store = Store.open(folder / "roost.db", used=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        assert (await succession.succeed(store, Processes(SOCKET))).sessions == {}
        left = await store.read(children.keepers)
        nursery.cancel_scope.cancel()
    store.close()
    return left


async def test_the_marks_of_a_dead_daemon_on_another_socket_are_known(
    bearer: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    assert await succeeded(tmp_path) == []
    assert bearer.wait(10) == -9


async def test_what_bears_the_mark_of_a_socket_that_cannot_be_asked_is_left(
    bearer: "subprocess.Popen[bytes]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is on a mount that hangs."""
    answers = threading.Event()

    def hanging(path: str) -> bool:
        return answers.wait()

    monkeypatch.setattr(succession, "ASKING", 0.01)
    monkeypatch.setattr(succession, "heard", hanging)
    try:
        assert await succeeded(tmp_path) == []
    finally:
        answers.set()
    assert bearer.poll() is None and f"somebody listens on {{{FORMER!r}}} was not found out" in caplog.text
