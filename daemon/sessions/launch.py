"""The launch of a session's child: all that it needs, read with the settings and secrets of now."""

import os
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import trio

from ...protocol import rpc
from ...protocol.errors import EngineFailed, EngineNotFound, LimitUnenforceable, SecretMissing, TurnNotFound
from ...protocol.model import Limits, Session
from ..core.limits import effective
from ..current import Current
from ..engines import catalogue
from ..engines.engine import Engine, Grace, Launch, Listener
from ..process import proc
from ..process.processes import Processes
from ..process.stderr import StderrFiles
from ..process.workspace import canonical
from ..settings import EngineSettings, secrets
from ..store import Store, checkpoints, children, identity, reads, sessions
from ..waiting.patience import Patience

FILE_DEADLINE = 10.0
"""Seconds that a file system has to answer."""
HISTORY = 20
"""Turns that a child is told of at its start."""
BESIDE = 256 * 1024
"""Bytes of the message that restores a child, beside its state and the prompt that was cut off, which share the rest.
A state may have 15 MiB: then 768 KiB of that prompt are told."""


class Launches:
    """Prepares children. A dead mount stops only the sessions that use it.

    Attributes:
        stderr: where what children write to it is kept.
    """

    def __init__(self, settings: Current, store: Store, processes: Processes) -> None:
        self.processes = processes
        self.keeper = keeper_of(settings.daemon.state_directory, processes.socket)
        self.stderr = StderrFiles(settings.daemon.state_directory / "stderr")
        self._settings = settings
        self._store = store
        self._files = Patience()

    def engine(self, launch: Launch, listener: Listener) -> Engine:
        """An engine of the launch's kind, which has no child yet."""
        return catalogue.engine(launch, listener, Grace.of(self._settings.now), self.processes)

    def engine_settings(self, name: str) -> EngineSettings:
        """The configured engine.

        Raises:
            EngineNotFound: names the engines that there are.
        """
        engine = self._settings.engines.get(name)
        if engine is None:
            known = ", ".join(sorted(self._settings.engines))
            raise EngineNotFound(f"there is no engine {name!r}; there are: {known}", engine=name)
        return engine

    async def workspace(self, path: str) -> str:
        """``path`` without symbolic links.

        Raises:
            WorkspaceInvalid: it cannot be worked in, or its file system does not answer.
        """
        return await canonical(path, files=self._files, deadline=FILE_DEADLINE)

    async def prepared(self, record: Session) -> Launch:
        """The launch of a child of this session.

        Raises:
            EngineNotFound, EngineFailed, WorkspaceInvalid, SecretMissing, StorageFailed
        """
        engine = self._engine_of(record)
        await self.workspace(record.workspace)
        secret = await self._secrets(engine)
        own, state, history, cut_off = await self._store.read(lambda conn: _read(conn, record))
        env = {**own, **engine.env, **secret, "ROOST_SESSION": record.id}
        return Launch(record, engine, env, state, history, cut_off, self.stderr)

    def limits(self, record: Session, engine: EngineSettings) -> Limits:
        """The limits of the session's next child.

        Raises:
            LimitUnenforceable: this host cannot enforce one, and the settings say not to go without.
        """
        limits = effective(record.limits, engine.limits)
        missing = self.processes.unenforced(limits)
        if missing and self._settings.limits.unenforceable == "refuse":
            text = f"session {record.id} cannot have its {', '.join(missing)} here: {self.processes.cgroups.message}"
            raise LimitUnenforceable(text, session=record.id, limits=missing)
        return limits

    def _engine_of(self, session: Session) -> EngineSettings:
        """The engine of a session as it is configured now.

        Raises:
            EngineNotFound. EngineFailed: it has become an engine of another kind.
        """
        engine = self.engine_settings(session.engine)
        if engine.kind is not session.kind:
            text = f"engine {session.engine} is of kind {engine.kind} now, and session {session.id} of {session.kind}"
            raise EngineFailed(f"{text}; give the engine another name, or make a new session", engine=session.engine)
        return engine

    async def _secrets(self, engine: EngineSettings) -> dict[str, str]:
        """The secrets that ``env_from`` names: variable → value.

        Raises:
            SecretMissing: also if the file that holds it does not answer.
        """
        sources = engine.env_from
        if not sources:
            return {}
        read = partial(secrets, sources, dict(os.environ))
        try:
            return await self._files.call(tuple(sorted(sources.items())), read, FILE_DEADLINE)
        except trio.TooSlowError:
            names = ", ".join(sources)
            text = f"the files of the secrets {names} did not answer within {FILE_DEADLINE:g} s; look at them"
            raise SecretMissing(text, variables=list(sources)) from None


def keeper_of(state_directory: Path, socket: str) -> children.Keeper:
    """This process, as it is recorded in the database that it serves."""
    found = identity(state_directory)
    return children.Keeper(*proc.itself()[:3], socket, f"{found[0]}:{found[1]}" if found else "")


def _read(
    conn: sqlite3.Connection, record: Session
) -> tuple[dict[str, str], bytes | None, list[dict[str, Any]], dict[str, Any] | None]:
    saved = checkpoints.load(conn, record.id, "latest")
    state = saved[1] if saved else None
    room = rpc.Limits().frame - BESIDE - len(state or b"")
    return sessions.env(conn, record.id), state, reads.history(conn, record.id, HISTORY), _cut_off(conn, record, room)


def _cut_off(conn: sqlite3.Connection, record: Session, room: int) -> dict[str, Any] | None:
    """The turn of which its engine must be told that it was cut off; as much of its prompt as there is room for."""
    if not record.interrupted:
        return None
    try:
        turn = reads.turn(conn, record.interrupted)
    except TurnNotFound:  # retention has removed it
        return None
    input = turn.input.encode()[:room].decode(errors="ignore")
    return {"turn": turn.id, "number": turn.number, "input": input, "reason": turn.reason or ""}
