"""A real server on a real socket over a real store, in this process; and a client of it that sends raw bytes."""

import threading
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import trio

from helpers.waiting import DEADLINE
from roost.daemon.current import Current
from roost.daemon.process.processes import Processes
from roost.daemon.server import Info, Rooms, Server, bind
from roost.daemon.sessions import Supervisor
from roost.daemon.settings import Settings, load
from roost.daemon.store import Store, Tx
from roost.protocol import rpc
from roost.protocol.errors import RoostError, from_wire
from roost.protocol.events import SESSION_HELD, Kind
from roost.protocol.methods import SessionCreateParams
from roost.protocol.model import Author, ClientAuthor
from roost.protocol.service import ReloadResult

CONFIG = """
[engines.shell]
kind = "command"
command = ["true"]
[engines.sleep]
kind = "command"
command = ["sleep"]
[engines.patient]
kind = "command"
command = ["sleep", "1000"]
prompt = "stdin"
"""


class Served(NamedTuple):
    """What a test needs of it. ``shutdowns``: the reasons with which a stop was asked for."""

    server: Server
    rooms: Rooms
    store: Store
    supervisor: Supervisor
    path: Path
    shutdowns: list[str]
    nursery: trio.Nursery

    async def emit(self, session: str, count: int, kind: Kind[Any] = SESSION_HELD, size: int = 0) -> None:
        """``count`` events in one commit; '' is the daemon."""
        text = "x" * size

        def operation(tx: Tx) -> None:
            for _ in range(count):
                tx.emit(session, kind, {"reason": text, "queued": 0, "author": {}})

        await self.store.write(operation)

    async def create(self, name: str, engine: str = "shell") -> str:
        """A session, made without a client; its id. Engine ``shell`` ends at once, ``sleep`` after its prompt's
        seconds, ``patient`` never.
        """
        params = SessionCreateParams(name=name, engine=engine, workspace=str(self.path.parent))
        return (await self.supervisor.create(params, ClientAuthor(pid=1, uid=0))).id

    @asynccontextmanager
    async def busy_writer(self) -> AsyncGenerator[None]:
        """Whatever has to be written waits for the end of the block."""
        release, busy = threading.Event(), trio.Event()
        token = trio.lowlevel.current_trio_token()

        def operation(tx: Tx) -> None:
            token.run_sync_soon(busy.set)
            assert release.wait(DEADLINE)

        self.store.write_nowait(operation)
        await busy.wait()
        try:
            yield
        finally:
            release.set()


@asynccontextmanager
async def served(
    tmp_path: Path,
    mode: int = 0o600,
    config: str = "",
    clients: int = 256,
    deadline: float = DEADLINE * 3,
    **options: Any,
) -> AsyncGenerator[Served]:
    """A server on ``tmp_path/run/roost.sock``, with ``config`` before CONFIG.

    Args:
        clients: may be 0, as no setting can say.
        deadline: seconds that all of it may take.
        options: the server's own.
    """
    path = tmp_path / "run" / "roost.sock"
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "config.toml").write_text(config + CONFIG)

    def read() -> Settings:
        state = str(tmp_path / "state")
        found = load(
            {"HOME": str(tmp_path)}, file=str(tmp_path / "config.toml"), state_directory=state, socket=str(path)
        )
        return found.model_copy(update={"limits": found.limits.model_copy(update={"clients": clients})})

    store = Store.open(tmp_path / "state" / "roost.db", used=False)
    shutdowns: list[str] = []

    def request_shutdown(reason: str, author: Author) -> None:
        shutdowns.append(reason)

    async def request_reload(author: Author) -> ReloadResult:
        return await current.reload()

    with trio.fail_after(deadline), bind(path, mode) as listener:
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            current = Current(read(), read)
            supervisor = Supervisor(current, store, Processes(str(path)))
            defaults: dict[str, Any] = {
                "supervisor": supervisor,
                "store": store,
                "info": info(tmp_path, path),
                "settings": current,
                "request_shutdown": request_shutdown,
                "request_reload": request_reload,
            }
            limits = options.pop("limits", None)
            rooms = Rooms(**{**defaults, **options})
            server = Server(rooms, limits)
            await nursery.start(supervisor.run)
            await nursery.start(server.serve, listener)
            yield Served(server, rooms, store, supervisor, path, shutdowns, nursery)
            await server.close("the test is over")
            nursery.cancel_scope.cancel()
    store.close()


def info(tmp_path: Path, path: Path) -> Info:
    return Info(
        version="1.2.3",
        pid=4242,
        started_at=1,
        state_directory=str(tmp_path / "state"),
        database=str(tmp_path / "state" / "roost.db"),
        socket=str(path),
    )


class Client:
    """One connection. Requests may overlap; what comes is kept in order until it is asked for."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.rpc = rpc.Connection()
        self.notes: deque[rpc.Notification] = deque()
        self.answers: dict[int, rpc.Response] = {}
        self.order: list[rpc.Response | rpc.Notification] = []
        self.ended = False

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def ask(self, method: str, **params: Any) -> int:
        """Send a request; its msgid."""
        msgid = self.rpc.next_msgid()
        await self.send(rpc.request(msgid, method, params))
        return msgid

    async def call(self, method: str, **params: Any) -> Any:
        return await self.answer(await self.ask(method, **params))

    async def answer(self, msgid: int) -> Any:
        """The result of a request; its error is raised."""
        with trio.fail_after(DEADLINE):
            while msgid not in self.answers:
                assert await self.receive(), f"the connection ended before request {msgid} was answered"
        answer = self.answers.pop(msgid)
        if answer.error is not None:
            raise from_wire(answer.error)
        return answer.result

    async def error(self, method: str, **params: Any) -> RoostError:
        try:
            result = await self.call(method, **params)
        except RoostError as exc:
            return exc
        raise AssertionError(f"{method} was not refused: {result!r}")

    async def note(self) -> rpc.Notification:
        """The next notification."""
        if not self.notes:
            with trio.fail_after(DEADLINE):
                while not self.notes:
                    assert await self.receive(), "the connection ended before the next notification"
        return self.notes.popleft()

    async def events(self, count: int) -> list[dict[str, Any]]:
        """The next ``count`` events; nothing else may come between."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            note = await self.note()
            assert note.method == "event", note
            found.append(note.params)
        return found

    async def receive(self) -> bool:
        """Take in what has come; False at the end of the stream."""
        try:
            data = await self.stream.receive_some(65536)
        except trio.BrokenResourceError:
            data = b""
        for message in self.rpc.receive(data):
            assert isinstance(message, rpc.Response | rpc.Notification), message
            self.order.append(message)
            if isinstance(message, rpc.Response):
                self.answers[message.msgid] = message
            else:
                self.notes.append(message)
        self.ended = not data
        return bool(data)

    async def wait_closed(self) -> None:
        with trio.fail_after(DEADLINE):
            while await self.receive():
                pass


@asynccontextmanager
async def connected(path: Path) -> AsyncGenerator[Client]:
    async with await trio.open_unix_socket(str(path)) as stream:
        yield Client(stream)
