"""What all sessions share."""

import os
from typing import cast

import trio

from ...protocol.errors import (
    EngineFailed,
    EngineNotFound,
    InternalError,
    LimitUnenforceable,
    RoostError,
    SecretMissing,
)
from ...protocol.model import Limits, Problem, Session
from ..core.limits import effective
from ..current import Current
from ..engines import catalogue
from ..engines import engine as engines
from ..engines.engine import Engine, Grace, Launch, Listener
from ..process import proc
from ..process.processes import Processes
from ..process.stderr import StderrFiles
from ..settings import EngineSettings, secrets
from ..store import Store, children
from ..waiting.patience import Patience
from .records import Records
from .starts import Starts

FILE_DEADLINE = 10.0
"""Seconds that a file system has to answer."""


class House:
    """A dead mount stops only those who use it.

    Args:
        processes: starts and ends the children.
    """

    def __init__(self, settings: Current, store: Store, records: Records, processes: Processes) -> None:
        self.settings = settings
        self.store = store
        self.records = records
        self.processes = processes
        self.keeper = children.Keeper(*proc.itself()[:3], processes.socket)
        self.starts = Starts()
        self.files = Patience()
        self.stderr = StderrFiles(settings.daemon.state_directory / "stderr")

    def engine(self, launch: Launch, listener: Listener) -> Engine:
        return catalogue.engine(launch, listener, Grace.of(self.settings.now), self.processes)

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

    def engine_of(self, session: Session) -> EngineSettings:
        """The engine of a session as it is configured now.

        Raises:
            EngineNotFound. EngineFailed: it has become one of another kind.
        """
        engine = self.engine_settings(session.engine)
        if engine.kind is not session.kind:
            text = f"engine {session.engine} is of kind {engine.kind} now, and session {session.id} of {session.kind}"
            raise EngineFailed(f"{text}; give the engine another name, or make a new session", engine=session.engine)
        return engine

    def limits(self, session_id: str, engine: EngineSettings) -> Limits:
        """Those that hold for the session's next child.

        Raises:
            LimitUnenforceable: this host cannot enforce one, and the settings say not to go without.
        """
        limits = effective(self.record(session_id).limits, engine.limits)
        missing = self.processes.unenforced(limits)
        if missing and self.settings.limits.unenforceable == "refuse":
            text = f"session {session_id} cannot have its {', '.join(missing)} here: {self.processes.cgroups.message}"
            raise LimitUnenforceable(text, session=session_id, limits=missing)
        return limits

    async def secrets(self, engine: EngineSettings) -> dict[str, str]:
        """What ``env_from`` names: variable → value.

        Raises:
            SecretMissing: also if the file that holds it does not answer.
        """
        if not engine.env_from:
            return {}
        sources = engine.env_from
        try:
            key = tuple(sorted(sources.items()))
            return await self.files.call(key, lambda: secrets(sources, dict(os.environ)), FILE_DEADLINE)
        except trio.TooSlowError:
            names = ", ".join(sources)
            text = f"the files of the secrets {names} did not answer within {FILE_DEADLINE:g} s; look at them"
            raise SecretMissing(text, variables=list(sources)) from None

    def record(self, session_id: str) -> Session:
        """The record of a session that is known to be in memory."""
        session = self.records.by_id(session_id)
        assert session is not None, session_id
        return session


def single(error: BaseException) -> BaseException:
    """The one error that nested groups of one hold."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return single(group.exceptions[0]) if len(group.exceptions) == 1 else group


def problem_of(error: BaseException) -> Problem:
    """An error as it is kept with a session or a turn; what is not ours is a bug."""
    cause = single(error)
    if not isinstance(cause, RoostError):
        cause = InternalError(f"a bug in roostd: {cause!r}; please report it with the log")
    return engines.problem(cause)
