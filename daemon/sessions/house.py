"""What all sessions share."""

from dataclasses import dataclass, field
from typing import cast

import trio

from ...protocol.errors import EngineNotFound, InternalError, RoostError
from ...protocol.model import Problem, Session
from ..engines.command import CommandEngine
from ..engines.engine import Engine, Grace, Launch, Listener
from ..engines.worker import WorkerEngine
from ..settings import EngineSettings, Settings
from ..store import Store
from .records import Records


def _spawning() -> trio.CapacityLimiter:
    return trio.CapacityLimiter(8)


def _files() -> trio.CapacityLimiter:
    return trio.CapacityLimiter(40)


@dataclass
class House:
    """Each of ``spawning`` and ``files`` bounds its own threads: a dead mount stops only those who use it."""

    settings: Settings
    store: Store
    records: Records
    socket: str
    spawning: trio.CapacityLimiter = field(default_factory=_spawning)
    files: trio.CapacityLimiter = field(default_factory=_files)

    def engine(self, launch: Launch, listener: Listener) -> Engine:
        kind: type[WorkerEngine] | type[CommandEngine] = (
            WorkerEngine if launch.engine.kind == "worker" else CommandEngine
        )
        return kind(launch, listener, Grace.of(self.settings), self.spawning)

    def engine_settings(self, name: str) -> EngineSettings:
        """The configured engine.

        Raises:
            EngineNotFound: names those that there are.
        """
        engine = self.settings.engines.get(name)
        if engine is None:
            known = ", ".join(sorted(self.settings.engines))
            raise EngineNotFound(f"there is no engine {name!r}; there are: {known}", engine=name)
        return engine

    def record(self, session_id: str) -> Session:
        """The record of a session that is known to be in memory."""
        session = self.records.by_id(session_id)
        assert session is not None, session_id
        return session


def problem_of(error: BaseException) -> Problem:
    """An error as it is kept with a session or a turn; what is not ours is a bug."""
    if isinstance(error, BaseExceptionGroup):
        return problem_of(cast("BaseExceptionGroup[BaseException]", error).exceptions[0])
    if not isinstance(error, RoostError):
        error = InternalError(f"a bug in roostd: {error!r}; please report it with the log")
    return Problem(name=error.wire_name, message=error.message, data=error.data)
