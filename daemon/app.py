"""The one file that knows all: it wires the rooms, opens the nurseries, and holds the order of start and stop."""

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from .. import __version__
from ..protocol.errors import DatabaseRefused, RoostError
from ..protocol.events import (
    DAEMON_PROCESSES_LEFT,
    DAEMON_RELOADED,
    DAEMON_STOPPED,
    DaemonProcessesLeft,
    DaemonReloaded,
    Kind,
)
from ..protocol.model import DAEMON, Author
from ..protocol.service import ReloadResult
from .core.batches import Report
from .current import Current
from .place import Place
from .process.cgroup import Found, find
from .process.host import checks
from .process.processes import NO_CGROUPS, Processes
from .server import Info, Rooms, Server, bind
from .sessions import Supervisor
from .sessions.janitor import Janitor
from .sessions.launch import keeper_of
from .sessions.problem import single
from .sessions.records import Records
from .sessions.shutdown import Shutdown
from .store import Store, Tx
from .succession import refuse_copy, succeed
from .systemd import Notifier, watchdog_interval
from .waiting.awaited import Once
from .waiting.deadline import in_thread
from .waiting.guard import guarded

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK = 1.0
"""Seconds between two looks at whether lock, database, its WAL and socket are still the files they were."""
FINDING = 10.0
"""Seconds to find the cgroups: the kernel takes none, a probe in one 5 at most."""
REPORTING = 3.0
"""Seconds a stuck disk has to take an event of the daemon's own; it stands in the log too."""
STRAYS = 5.0
"""Seconds within which what no session's tree holds is ended at the stop."""
LEAVING = 5.0
"""Seconds that the file system of the state directory has to let the daemon go."""
LOST, REFUSED = 9, 10
"""Exit statuses: a state was lost at the stop; the database was refused."""


def serve(settings: Current, handed: socket.socket | None) -> int:
    """Lock the state directory, open what is there, and run until stopped; the exit status.

    Args:
        handed: the listening socket that systemd handed over; None: the daemon makes, and removes, its own.

    Raises:
        DaemonRunning, StateDirectoryUnusable, SocketInUse, SocketPathTooLong
    """
    place = Place.take(settings.now)
    notifier = Notifier(os.environ)
    os.environ.pop("NOTIFY_SOCKET", None)  # no child speaks for the daemon
    app = App(settings, place, notifier)
    try:
        return _served(app, handed)
    except DatabaseRefused as exc:
        log.critical("%s: %s", exc.name, exc.message)
        return REFUSED if handed is None else trio.run(app.refuse, exc, handed)


def _served(app: "App", handed: socket.socket | None) -> int:
    """Serve what is in the database until stopped; the exit status.

    Raises:
        DatabaseRefused: it cannot be served, and nothing of it is open any more.
        DaemonRunning: it is a copy of a database that another daemon serves.
    """
    settings, place = app.settings, app.place
    store = Store.open(place.database, used=place.used)
    trio.run(refuse_copy, place.database, keeper_of(place.state_directory, str(settings.daemon.socket)))
    place.mark_used()
    place.watch(place.database, place.wal)
    # Whoever else may connect is told apart by SO_PEERCRED, not by the file's mode.
    mode = 0o666 if settings.daemon.allowed_uids else 0o600
    listener = handed or bind(settings.daemon.socket, mode=mode)
    if handed is None:
        place.watch(settings.daemon.socket)
    try:
        status = trio.run(app.run, store, listener)
    except BaseExceptionGroup as group:
        raise single(group) from group  # a disk that is full at the start is no bug
    leaving = threading.Thread(target=_leave, args=(settings, place, handed), daemon=True)
    leaving.start()
    leaving.join(LEAVING)
    return status


def _leave(settings: Current, place: Place, handed: socket.socket | None) -> None:
    # A socket that was handed over is systemd's, and one that was replaced is somebody else's: they are left.
    if handed is None and place.same(settings.daemon.socket):
        settings.daemon.socket.unlink(missing_ok=True)
    place.release()


class App:
    """One run of the daemon, from a locked state directory to its exit status."""

    def __init__(self, settings: Current, place: Place, notifier: Notifier) -> None:
        self.settings = settings
        self.place = place
        self.notifier = notifier
        self._ready = Once()
        self._stop = Once()
        self._reason = "user"
        self._author: Author = DAEMON
        self._status = "starting"
        self._shutdown: Shutdown | None = None
        self._cgroups = NO_CGROUPS

    async def run(self, store: Store, listener: socket.socket) -> int:
        """Serve until asked to stop; the exit status.

        Args:
            listener: where clients connect.

        Raises:
            DatabaseRefused: damage was met before anything was served.
        """
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            await nursery.start(self._signals)
            await nursery.start(self._hangups, store)
            report = await self._serve(store, listener)
            nursery.cancel_scope.cancel()  # the store ends last: until then, what the others do at their end is written
        store.close()
        return report.status

    async def _serve(self, store: Store, listener: socket.socket) -> Report:
        async with trio.open_nursery() as nursery:
            self._cgroups = await self._found()
            processes = Processes(str(self.settings.daemon.socket), cgroups=self._cgroups)
            supervisor = Supervisor(self.settings, store, processes)
            owned = supervisor.registry.owned
            server = self._server(supervisor, store, reload=lambda author: owned(lambda: self.reload(store, author)))
            leftovers = await succeed(store, processes, supervisor.launches.keeper)
            for session, pids in leftovers.stuck.items():
                supervisor.leftovers.enter(session, pids)
            await nursery.start(processes.run)
            await nursery.start(supervisor.run)
            for session in leftovers.stuck:
                nursery.start_soon(guarded, f"end of {session}", supervisor.leftovers.outlast, session, leftovers.roots)
            await nursery.start(server.serve, listener)
            nursery.start_soon(guarded, "sweepers", Janitor(supervisor).run)
            watching = self._watch(store)
            nursery.start_soon(self._ping)
            self._serves(f"serving {self.settings.daemon.socket}")
            log.info("roostd %s serves %s", __version__, self.settings.daemon.socket)
            await self._stop.wait()
            report = await self._end(supervisor, server, store)
            await guarded("end of strays", self._end_strays, processes, supervisor.records, store)
            watching.set()
            nursery.cancel_scope.cancel()
        return report

    async def _found(self) -> Found:
        """The cgroups that there are. The settings may name a folder on a mount that hangs."""
        setting = self.settings.daemon.cgroup

        def late() -> Found:
            text = f'daemon.cgroup = "{setting}" was not found within {FINDING:g} s'
            text = f'{text}; look at its mount, or set it to "off"'
            log.error("sessions get no cgroup: %s", text)
            return Found(None, text)

        return await in_thread(lambda: find(setting), within=FINDING, otherwise=late)

    async def refuse(self, error: DatabaseRefused, listener: socket.socket) -> int:
        """Stay up on a socket that systemd holds, and answer each call with why nothing can be done.

        A daemon that exited would be started again by the next call, until systemd gives the socket up.
        """
        async with trio.open_nursery() as nursery:
            await nursery.start(self._signals)
            await nursery.start(self._hangups, None)
            server = self._server(None, None, reload=lambda author: self.reload(None, author), refused=error)
            await nursery.start(server.serve, listener)
            nursery.start_soon(self._ping)
            self._serves(f"refused: {error.message}")
            await self._stop.wait()
            self.notifier.stopping()
            await server.close(self._reason)
            nursery.cancel_scope.cancel()
        return REFUSED

    def _serves(self, status: str) -> None:
        self._status = status
        self.notifier.ready()
        self.notifier.status(status)
        self._ready.set()

    def request_stop(self, reason: str, author: Author = DAEMON) -> None:
        """Begin to stop; asked again while stopping, wait for nothing more."""
        if not self._stop.is_set():
            self._reason, self._author = reason, author
            self._stop.set()
        elif self._shutdown is not None:
            log.warning("asked to stop again (%s): not waiting any longer", reason)
            self._shutdown.hurry()

    async def _signals(self, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
            task_status.started()
            async for number in received:
                self.request_stop(signal.Signals(number).name)

    async def _hangups(self, store: Store | None, *, task_status: trio.TaskStatus[None]) -> None:
        """SIGHUP reads the settings again; one that comes before everything is served waits until it is."""
        with trio.open_signal_receiver(signal.SIGHUP) as received:
            task_status.started()
            await self._ready.wait()
            async for _ in received:
                if not self._stop.is_set():
                    await guarded("reload", self._reload_by_signal, store)

    async def _reload_by_signal(self, store: Store | None) -> None:
        with contextlib.suppress(RoostError):  # it stands in the log and in the status
            await self.reload(store)

    async def reload(self, store: Store | None, author: Author = DAEMON) -> ReloadResult:
        """Read the settings again, tell systemd of it, and record what changed.

        Raises:
            InvalidSettings, SocketPathTooLong: nothing has changed.
        """
        self.notifier.reloading()
        status = self._status
        try:
            result = await self.settings.reload()
            status += f"; restart for {', '.join(result.restart)}" if result.restart else ""
        except RoostError as exc:
            status += f"; not reloaded: {exc.message}"
            log.error("the settings that held still do: %s", exc.message)
            raise
        finally:
            if not self._stop.is_set():  # there the stop has the word
                self.notifier.ready()
                self.notifier.status(status)
        logging.getLogger().setLevel(self.settings.daemon.log_level.upper())
        log.info("settings read again: changed %s; after a restart %s", result.changed, result.restart)
        if store is not None:
            reloaded = DaemonReloaded(changed=result.changed, restart=result.restart, author=author.to_wire())
            await self._record(store, DAEMON_RELOADED, reloaded)
        return result

    def _server(
        self,
        supervisor: Supervisor | None,
        store: Store | None,
        *,
        reload: Callable[[Author], Awaitable[ReloadResult]],
        refused: DatabaseRefused | None = None,
    ) -> Server:
        limits = self.settings.limits
        info = Info(
            version=__version__,
            pid=os.getpid(),
            started_at=time.time_ns() // 1_000_000,
            state_directory=str(self.place.state_directory),
            database=str(self.place.database),
            socket=str(self.settings.daemon.socket),
            checks=tuple(checks(self._cgroups, sessions=limits.max_live, clients=limits.clients)),
        )
        rooms = Rooms(
            supervisor=supervisor,
            store=store,
            settings=self.settings,
            info=info,
            request_shutdown=self.request_stop,
            request_reload=reload,
            refused=refused,
        )
        return Server(rooms)

    def _watch(self, store: Store) -> threading.Event:
        token = trio.lowlevel.current_trio_token()

        def changed(path: str) -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(self._gone, store, path)

        return self.place.watch_on(LOOK, changed)

    def _gone(self, store: Store, path: str) -> None:
        problem = store.lose(path)
        log.error("%s", problem)
        self._status = problem.message
        self.notifier.status(self._status)

    async def _ping(self) -> None:
        interval = watchdog_interval(os.environ)
        while interval is not None:
            self.notifier.watchdog()
            await trio.sleep(interval)

    async def _end(self, supervisor: Supervisor, server: Server, store: Store) -> Report:
        """The stop: nothing new, every state saved that can be, the report, then the clients."""
        begun = trio.current_time()
        self.notifier.stopping()
        log.info("stopping: %s", self._reason)
        server.admit(unless=self._reason)
        shutdown = self._shutdown = Shutdown(supervisor, self._reason, self.notifier.status)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._extend)
            report = await shutdown.run()
            nursery.cancel_scope.cancel()
        duration = round((trio.current_time() - begun) * 1000)

        await self._record(store, DAEMON_STOPPED, report.data(duration, self._author))
        log.log(logging.ERROR if report.status else logging.INFO, "%s", report.line())
        self.notifier.status(report.line())
        await server.close(self._reason)
        return report

    async def _end_strays(self, processes: Processes, records: Records, store: Store) -> None:
        def ours(session: str) -> bool:  # in memory are all that had a child here, also when the disk does not answer
            return records.by_id(session) is not None

        left = await processes.end_strays(STRAYS, ours)
        if left and store.gone is None:  # it stands in the log too
            store.write_nowait(
                lambda tx: tx.emit("", DAEMON_PROCESSES_LEFT, DaemonProcessesLeft(pids=left))
            )  # the store's end waits

    async def _record(self, store: Store, kind: Kind[T], data: T) -> None:
        """An event of the daemon's own. It happened, whether or not the disk takes it."""

        def record(tx: Tx) -> None:
            tx.emit("", kind, data)

        try:
            with trio.move_on_after(REPORTING):
                await store.write(record)
        except RoostError as exc:
            log.error("%s is not on disk: %s", kind, exc)

    async def _extend(self) -> None:
        """systemd's stop clock runs since STOPPING=1; our own deadline bounds this."""
        with trio.move_on_after(self.settings.daemon.stop_deadline):
            while True:
                self.notifier.extend_timeout(10.0)
                await trio.sleep(1.0)
