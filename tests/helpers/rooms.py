"""The rooms of sessions over a real store, in this process; their engine is a few lines that do what a prompt says."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import trio

from helpers.waiting import DEADLINE, wait_until
from roost.daemon.core.said import Append, Start
from roost.daemon.current import Current
from roost.daemon.engines.engine import Ended, Engine, Launch, Listener, Told
from roost.daemon.process.proc import Identity
from roost.daemon.process.processes import Processes
from roost.daemon.process.trees import Root
from roost.daemon.sessions import Supervisor
from roost.daemon.sessions.launch import Launches
from roost.daemon.sessions.registry import Registry
from roost.daemon.sessions.session import LiveSession
from roost.daemon.settings import load
from roost.daemon.store import Store, Tx, checkpoints, reads
from roost.daemon.waiting.awaited import Once
from roost.protocol import rpc
from roost.protocol.errors import EngineFailed, OutcomeUnknown, RequestCancelled, StorageFailed, TimedOut, WorkerExited
from roost.protocol.methods import SessionCreateParams, TurnSendParams
from roost.protocol.model import ClientAuthor, EngineKind, ItemKind, Problem, Session, Turn, TurnState, new_id

T = TypeVar("T")
ME = ClientAuthor(pid=1, uid=0, client="test")


class TinyEngine:
    """An engine without a child. Its state is the list of prompts seen.

    Prompts: ``hang`` (until cancelled), ``deaf`` (until killed), ``die``, ``fail``, ``bug``, ``say TEXT``,
    ``keep`` (the state comes with the end), ``ask N`` (waits for N answers); all else completes.

    Attributes:
        gates: what the test may hold back, by the name of the method; each waits for its event, if it has one.
    """

    resident = True
    saves = True

    def __init__(self, launch: Launch, listener: Listener) -> None:
        self.launch = launch
        self.listener = listener
        self.gone = Once()
        self.problem: Problem | None = None
        self.pid: int | None = 4242
        self.seen: list[str] = list(rpc.unpack(launch.state)) if launch.state else []
        self.gates: dict[str, trio.Event] = {}
        self.entered: list[str] = []
        self.answered: str | None = None
        self._cancelled = trio.Event()
        self._killed = trio.Event()

    async def _enter(self, method: str) -> None:
        self.entered.append(method)
        if method in self.gates:
            await _either(self.gates[method], self._killed)

    async def serve(self, ready: Callable[[], Awaitable[None]]) -> None:
        root = Root(self.launch.session.id, "c-tiny", Identity(4242, 1, "boot", 4242, 4242))
        try:
            await self._enter("serve")
            if "unstartable" in (self.launch.session.name or ""):
                raise EngineFailed("it cannot be started; it is called unstartable", program="tiny")
            if self._killed.is_set():
                raise WorkerExited("it was ended; start it again")
            await self.listener.spawned(root)
            await ready()
            await self._killed.wait()
        finally:
            with trio.CancelScope(shield=True):
                await self.listener.ended_child(root)
            self.gone.set()

    async def run(self, turn: Turn) -> Ended:
        ended = await self._do(turn)
        self.answered = turn.id
        return ended

    async def _do(self, turn: Turn) -> Ended:
        await self._enter("run")
        self.seen.append(turn.input)
        verb, _, rest = turn.input.partition(" ")
        match verb:
            case "hang":
                await self._cancelled.wait()
                self._cancelled = trio.Event()
                return Ended(TurnState.cancelled)
            case "deaf":
                await self.gone.wait()
                return self._exited()
            case "die":
                self.problem = Problem(name="worker_exited", message="it died", data={"exit_code": 3})
                self._killed.set()
                await self.gone.wait()
                return self._exited()
            case "fail":
                return Ended(TurnState.failed, Problem(name="turn_failed", message="as asked"))
            case "bug":
                raise ZeroDivisionError("a bug in the engine")
            case "say":
                item = new_id("i")
                await self.listener.said(Start(item, ItemKind.agent_message, "", {}))
                await self.listener.said(Append(item, rest))
                await self.listener.said(None)
            case "ask":
                await self._asked(int(rest or 1))
                await self._enter("rest")
            case "keep":
                return Ended(TurnState.completed, engine_state=rpc.pack(self.seen))
            case _:
                pass
        return Ended(TurnState.completed)

    async def _asked(self, times: int) -> None:
        """As a child that asks, and goes on when it has its answers: the gates ``answer``, ``answer 2``, …"""
        async with trio.open_nursery() as nursery:
            for n in range(1, times + 1):
                nursery.start_soon(self._ask, "answer" if n == 1 else f"answer {n}")

    async def _ask(self, gate: str) -> None:
        try:
            await self.listener.waiting(lambda: self._enter(gate))
            self.entered.append(f"{gate} heard")
        except RequestCancelled:
            self.entered.append(f"{gate} cancelled")

    def _exited(self) -> Ended:
        why = self.problem or Problem(name="worker_exited", message="it was ended")
        return Ended(TurnState.failed, why, why.data.get("exit_code"))

    async def cancel(self, turn: Turn, reason: str) -> None:
        await self._enter("cancel")
        if turn.input != "deaf":
            self._cancelled.set()

    async def state(self) -> Told:
        await self._enter("state")
        if self._killed.is_set():
            raise WorkerExited("it is gone; start it again")
        if "stuck" in self.seen:
            raise TimedOut("it does not answer; it was told to be stuck")
        return Told(rpc.pack(self.seen), self.answered)

    async def clear(self) -> bytes | None:
        await self._enter("clear")
        self.seen = []
        return rpc.pack(self.seen)

    async def end(self) -> None:
        await self._enter("end")
        self._killed.set()
        await self.gone.wait()

    def kill(self) -> None:
        self._killed.set()


async def _either(one: trio.Event, other: trio.Event) -> None:
    async with trio.open_nursery() as nursery:

        async def wait(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(wait, one)
        nursery.start_soon(wait, other)


class Rooms:
    """A supervisor and what it rests on. ``engines``: the last one made for each session."""

    def __init__(self, supervisor: Supervisor, store: Store, workspace: Path) -> None:
        self.supervisor = supervisor
        self.registry: Registry = supervisor.registry
        self.store = store
        self.workspace = workspace
        self.engines: dict[str, TinyEngine] = {}
        self.gates: dict[str, trio.Event] = {}
        """Given to each engine that is made."""
        supervisor.launches.engine = self._engine  # type: ignore[method-assign]

    def _engine(self, launch: Launch, listener: Listener) -> Engine:
        if launch.engine.kind is EngineKind.command:
            return Launches.engine(self.supervisor.launches, launch, listener)
        engine = self.engines[launch.session.id] = TinyEngine(launch, listener)
        engine.gates = self.gates
        return engine

    async def create(self, name: str | None = None, **params: Any) -> str:
        params = {"workspace": str(self.workspace), "engine": "tiny", **params}
        return (await self.supervisor.create(SessionCreateParams(name=name, **params), ME)).id

    async def send(self, session: str, prompt: str, **params: Any) -> str:
        sent = await self.supervisor.prompts.send(TurnSendParams(session=session, input=prompt, **params), ME)
        return sent.turn.id

    async def run(self, session: str, prompt: str, **params: Any) -> Turn:
        return await self.wait(await self.send(session, prompt, **params))

    async def do(self, operation: Callable[..., T], *args: Any, **fields: Any) -> T:
        """An operation of the store that a handler writes by itself."""
        return await self.store.write(lambda tx: operation(tx, *args, **fields))

    async def wait(self, turn: str) -> Turn:
        with trio.fail_after(DEADLINE):
            return await self.supervisor.prompts.wait(turn)

    async def started(self) -> tuple[str, LiveSession]:
        """A new session whose child is ready."""
        session = await self.create()
        return session, await self.registry.ensure(session)

    async def begun(self, session: str, prompt: str, **params: Any) -> str:
        """Send a prompt; returns when its turn is with the engine."""
        turn = await self.send(session, prompt, **params)
        await wait_until(lambda: session in self.engines and prompt in self.engines[session].seen)
        return turn

    def record(self, session: str) -> Session:
        found = self.registry.records.by_id(session)
        assert found is not None
        return found

    def live(self, session: str) -> LiveSession:
        return self.registry.live[session]

    async def turns(self, session: str) -> list[Turn]:
        return (await self.store.read(lambda conn: reads.turns(conn, session, limit=1000)))[0]

    async def kinds(self, session: str) -> list[str]:
        """Of the events so far, in order."""
        events, _, _ = await self.store.read(lambda conn: reads.events(conn, session, 0, 1000, None, 2**30))
        return [event.kind for event in events]

    async def saved(self, session: str) -> object:
        """The state that is kept of it; None: none."""
        found = await self.store.read(lambda conn: checkpoints.load(conn, session, "latest"))
        return None if found is None else rpc.unpack(found[1])

    async def stored(self, session: str) -> Session:
        return await self.store.read(lambda conn: reads.session(conn, session))


class Faults:
    """Makes the writes of a store fail, after or before they were done. Real otherwise."""

    def __init__(self, store: Store) -> None:
        self._write = store.write
        self._left: list[Exception] = []
        self._after = 0
        self._done_first = False
        self.failed = 0
        store.write = self.write  # type: ignore[method-assign]

    def fail(self, error: Exception, times: int = 1, *, after: int = 0, done_first: bool = False) -> None:
        """Past ``after`` more writes, the next ``times`` raise ``error``; ``done_first``: though they were done."""
        self._left, self._after, self._done_first = [error] * times, after, done_first

    def mend(self) -> None:
        self._left = []

    async def write(self, operation: Callable[[Tx], Any]) -> Any:
        if not self._left or self._after:
            self._after = max(0, self._after - 1)
            return await self._write(operation)
        self.failed += 1
        error = self._left.pop()
        if self._done_first:
            await self._write(operation)
        raise error


FULL = StorageFailed("the disk is full; free some space")
UNKNOWN = OutcomeUnknown("it may be on disk; ask again")


@asynccontextmanager
async def rooms(tmp_path: Path, config: str = "") -> AsyncGenerator[Rooms]:
    """A supervisor that drives; engines ``tiny`` (of this file) and ``true`` (kind command)."""
    (tmp_path / "config.toml").write_text(
        f"{config}\n[engines.tiny]\ncommand = ['tiny']\n[engines.true]\nkind = 'command'\ncommand = ['true']\n"
    )
    workspace = tmp_path / "workspace"
    workspace.mkdir(exist_ok=True)
    settings = load({"HOME": str(tmp_path)}, file=str(tmp_path / "config.toml"), state_directory=str(tmp_path))
    store = Store.open(tmp_path / "roost.db", used=(tmp_path / "roost.db").exists())
    with trio.fail_after(DEADLINE * 3):
        async with trio.open_nursery() as outer:
            await outer.start(store.run)
            async with trio.open_nursery() as inner:
                made = Rooms(
                    Supervisor(Current(settings), store, Processes(str(tmp_path / "roost.sock"))), store, workspace
                )
                await inner.start(made.supervisor.run)
                yield made
                inner.cancel_scope.cancel()
            outer.cancel_scope.cancel()
    store.close()
