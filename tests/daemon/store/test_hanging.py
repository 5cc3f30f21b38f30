"""A disk that does not answer is an error of who asked, and holds nobody."""

from threading import Event

import pytest
import trio

from helpers.ledger import creating
from roost.daemon.store import Store, Tx, reads
from roost.daemon.store import readers as readers_module
from roost.daemon.store import store as store_module
from roost.daemon.store.readers import READERS
from roost.protocol.errors import OutcomeUnknown, StorageFailed


async def test_a_disk_that_hangs_is_given_up_and_what_was_asked_may_still_be_done(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file operation has a deadline and is abandoned, not awaited."""
    monkeypatch.setattr(store_module, "WRITING", 0.05)
    entered, answer = Event(), Event()

    def hang(tx: Tx) -> None:
        entered.set()
        answer.wait(10)

    store.write_nowait(hang)
    assert await trio.to_thread.run_sync(entered.wait, 10)
    with pytest.raises(OutcomeUnknown, match=r"did not take this within 0\.05 s"):
        await store.write(creating("late"))
    assert isinstance(store.problem, OutcomeUnknown), "daemon.status says so"
    answer.set()
    monkeypatch.undo()
    await store.write(creating("next"))
    assert store.problem is None
    assert {session.name for session in await store.read(reads.all_sessions)} == {"late", "next"}


async def test_a_read_from_a_disk_that_hangs_is_given_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers_module, "READING", 0.05)
    answer = Event()
    for _ in range(READERS + 1):
        with pytest.raises(StorageFailed, match=r"was not read within 0\.05 s"):
            await store.read(lambda conn: answer.wait(10))
    answer.set()
    monkeypatch.undo()
    with trio.fail_after(10):
        assert await store.read(reads.all_sessions) == []
