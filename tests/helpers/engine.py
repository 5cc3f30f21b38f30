"""One engine with a real child, without a session round it: what it reports is kept in a list."""

import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import trio

from helpers.children import SOCKET
from helpers.engines import ODD
from roost.daemon.core.said import Append, Change
from roost.daemon.engines import catalogue
from roost.daemon.engines.engine import Ended, Engine, Grace, Launch
from roost.daemon.process.proc import Identity
from roost.daemon.process.processes import Processes
from roost.daemon.process.trees import Root
from roost.daemon.settings import EngineSettings
from roost.protocol.errors import RoostError
from roost.protocol.model import EngineKind, Session, Turn, TurnState

T = TypeVar("T")
DEADLINE = 20.0
GRACE = Grace(start=10.0, stop=0.5, term=0.3, request=5.0)


class Listening:
    """What a session would be told."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.signs = 0
        self.children: list[Identity] = []
        self.left: list[RoostError] = []
        self.refuse: RoostError | None = None
        """Raised when a child is to be recorded."""

    async def said(self, change: Change | None) -> None:
        self.signs += 1
        if change is not None:
            self.changes.append(change)

    async def waiting(self, answer: Callable[[], Awaitable[T]]) -> T:
        return await answer()

    async def spawned(self, root: Root) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.children.append(root.child)

    async def stuck(self, error: RoostError) -> None:
        self.left.append(error)

    async def ended_child(self, root: Root) -> None:
        if root.child in self.children:
            self.children.remove(root.child)

    @property
    def text(self) -> str:
        return "".join(change.text for change in self.changes if isinstance(change, Append))


def launch(workspace: Path, command: list[str], kind: EngineKind = EngineKind.worker, **fields: Any) -> Launch:
    session = Session(
        id="s-1", engine="e", kind=kind, workspace=str(workspace), created_at=1, updated_at=1, active_at=1
    )
    engine = EngineSettings(kind=kind, command=tuple(command), prompt=fields.pop("prompt", "argument"))
    given: dict[str, Any] = {"state": None, "history": [], "interrupted": None, **fields}
    return Launch(session, engine, {**os.environ, "ROOST_SESSION": "s-1", "ROOST_DAEMON": SOCKET}, **given)


def turn(input: str, id: str = "t-1") -> Turn:
    return Turn(id=id, session="s-1", number=1, state=TurnState.running, input=input, created_at=1)


def worker(workspace: Path, *mode: str, grace: Grace = GRACE, **fields: Any) -> tuple[Engine, Listening]:
    """An odd worker in that mode, not started yet."""
    listening = Listening()
    command = [sys.executable, str(ODD), *(mode or ("well",))]
    return catalogue.engine(launch(workspace, command, **fields), listening, grace, Processes(SOCKET)), listening


def program(workspace: Path, *command: str, prompt: str = "argument", grace: Grace = GRACE) -> tuple[Engine, Listening]:
    listening = Listening()
    made = launch(workspace, list(command), EngineKind.command, prompt=prompt)
    return catalogue.engine(made, listening, grace, Processes(SOCKET)), listening


async def started(engine: Engine, *, task_status: trio.TaskStatus[None]) -> None:
    """Have it serve; started when it can run turns."""

    async def ready() -> None:
        task_status.started()

    await engine.serve(ready)


@asynccontextmanager
async def serving(engine: Engine) -> AsyncGenerator[None]:
    """Started; killed at the end if it still lives."""
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            await nursery.start(started, engine)
            yield
            engine.kill()
            await engine.end()


async def refusal(engine: Engine) -> RoostError:
    """Why it does not start."""
    with trio.fail_after(DEADLINE):
        async with trio.open_nursery() as nursery:
            try:
                await nursery.start(started, engine)
            except RoostError as exc:
                return exc
            nursery.cancel_scope.cancel()
    raise AssertionError("it started")


async def ran(engine: Engine, prompt: str) -> Ended:
    with trio.fail_after(DEADLINE):
        return await engine.run(turn(prompt))
