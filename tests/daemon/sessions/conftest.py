"""Fixtures of the tests of sessions."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from helpers.kinds import checked_events
from helpers.rooms import Rooms, rooms


@pytest.fixture(autouse=True)
def _events_are_what_their_classes_say() -> Iterator[None]:
    yield from checked_events()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Rooms]:
    """The rooms of sessions, with an engine that does what a prompt says."""
    async with rooms(tmp_path) as made:
        yield made
