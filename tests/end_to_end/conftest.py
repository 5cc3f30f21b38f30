"""What several files of real runs share: one booted machine."""

from collections.abc import Iterator

import pytest

from helpers.installed import Installed, installed


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """A booted machine with roost installed, and an account `agent`."""
    with installed(tmp_path_factory.mktemp("machine")) as container:
        yield container
