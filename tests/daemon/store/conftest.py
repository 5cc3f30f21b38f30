"""Fixtures of the store's tests."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trio

from helpers.kinds import checked_events
from helpers.ledger import Ledger
from roost.daemon.store import Store


@pytest.fixture(autouse=True)
def _events_are_what_their_classes_say() -> Iterator[None]:
    yield from checked_events()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is to be."""
    return tmp_path / "roost.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """Operations on a real database without a loop; what must always hold is checked at the end."""
    ledger = Ledger(path)
    yield ledger
    ledger.check()
    ledger.close()


@pytest.fixture
async def store(path: Path, nursery: trio.Nursery) -> AsyncIterator[Store]:
    """A store that runs."""
    store = Store.open(path, used=False)
    await nursery.start(store.run)
    yield store
    store.close()
