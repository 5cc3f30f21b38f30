"""The engine that a session gets: one row for each kind."""

from ...protocol.model import EngineKind
from ..process.processes import Processes
from .command import CommandEngine
from .engine import Engine, Grace, Launch, Listener
from .resident import Resident
from .worker import WorkerDialect


def engine(launch: Launch, listener: Listener, grace: Grace, processes: Processes) -> Engine:
    """The engine for one session, not started yet."""
    match launch.engine.kind:
        case EngineKind.worker:
            return Resident(launch, listener, grace, processes, WorkerDialect)
        case EngineKind.command:
            return CommandEngine(launch, listener, grace, processes)
