"""Fixtures of the tests of the daemon's rooms."""

from collections.abc import Iterator

import pytest

from helpers.kinds import checked_events


@pytest.fixture(autouse=True)
def _events_are_what_their_classes_say() -> Iterator[None]:
    yield from checked_events()
