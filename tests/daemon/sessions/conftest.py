"""Fixtures of the tests of sessions."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from helpers.rooms import Rooms, rooms


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Rooms]:
    """The rooms of sessions, with an engine that does what a prompt says."""
    async with rooms(tmp_path) as made:
        yield made
