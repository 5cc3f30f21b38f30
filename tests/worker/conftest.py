"""Workers that the tests of a module share; the module says by ``COMMAND`` which."""

from collections.abc import Iterator

import pytest

from helpers.worker_driver import Driver


@pytest.fixture(scope="module")
def fresh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """One that is not initialized: what is refused leaves it so."""
    with Driver(request.module.COMMAND, tmp_path_factory.mktemp("workspace")) as worker:
        yield worker
        worker.initialize()


@pytest.fixture(scope="module")
def worker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    with Driver(request.module.COMMAND, tmp_path_factory.mktemp("workspace")) as worker:
        worker.initialize()
        yield worker
