"""Workers that the tests of a module share; the module says by a fixture ``command`` which."""

from collections.abc import Iterator

import pytest

from helpers.worker_driver import Driver


@pytest.fixture(scope="module")
def fresh(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """One that is not initialized: what is refused leaves it so."""
    with Driver(command, tmp_path_factory.mktemp("workspace")) as worker:
        yield worker
        worker.initialize()


@pytest.fixture(scope="module")
def worker(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    with Driver(command, tmp_path_factory.mktemp("workspace")) as worker:
        worker.initialize()
        yield worker
