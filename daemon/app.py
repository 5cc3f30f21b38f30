"""The one file that knows all: it wires the rooms, opens the nurseries, and holds the order of start and stop."""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable

import trio

from .. import __version__
from ..protocol import rpc
from ..protocol.errors import DatabaseRefused, OutcomeUnknown, RoostError, StorageFailed, StorageGone
from ..protocol.methods import LimitsInfo
from ..protocol.model import Engine, EngineKind
from .core.batches import Report
from .guard import guarded
from .place import Place
from .process.leftovers import end_leftovers
from .process.spawn import Identity
from .server import Info, Server, bind
from .sessions import Supervisor
from .sessions.checkpoint import Shutdown
from .sessions.house import single
from .sessions.janitor import Janitor, every
from .settings import Settings
from .store import Store, Tx, children, recovery
from .systemd import Notifier, watchdog_interval

log = logging.getLogger(__name__)

RESULT_BYTES = 1024 * 1024
LOOK = 1.0
"""Seconds between two looks at whether lock, database and socket are still the files they were."""
REPORTING = 5.0
"""Seconds a stuck disk has to take the report of the stop; it stands in the log too."""
LOST, REFUSED = 9, 10
"""Exit statuses: a state was lost at the stop; the database was refused."""


def serve(settings: Settings, handed: socket.socket | None) -> int:
    """Lock the state directory, open what is there, and run until stopped; the exit status.

    Args:
        handed: the listening socket that systemd handed over; None: the daemon makes, and removes, its own.

    Raises:
        DaemonRunning, StateDirectoryUnusable, SocketInUse, SocketPathTooLong
    """
    place = Place.take(settings)
    notifier = Notifier(os.environ)
    os.environ.pop("NOTIFY_SOCKET", None)  # no child speaks for the daemon
    try:
        store = Store.open(place.database, used=place.used)
    except DatabaseRefused as exc:
        log.critical("%s: %s", exc.name, exc.message)
        return REFUSED if handed is None else trio.run(App(settings, place, handed, notifier).refuse, exc)
    place.mark_used()
    place.watch(place.database)
    # Whoever else may connect is told apart by SO_PEERCRED, not by the file's mode.
    mode = 0o666 if settings.daemon.allowed_uids else 0o600
    listener = handed or bind(settings.daemon.socket, mode=mode)
    if handed is None:
        place.watch(settings.daemon.socket)
    try:
        status = trio.run(App(settings, place, listener, notifier).run, store)
    except BaseExceptionGroup as group:
        raise single(group) from group  # a disk that is full at the start is no bug
    # A socket that was handed over is systemd's, and one that was replaced is somebody else's: they are left.
    if handed is None and place.changed() is None:
        settings.daemon.socket.unlink(missing_ok=True)
    place.release()
    return status


class App:
    """One run of the daemon, from a locked state directory to its exit status.

    Args:
        listener: where clients connect.
    """

    def __init__(self, settings: Settings, place: Place, listener: socket.socket, notifier: Notifier) -> None:
        self.settings = settings
        self.place = place
        self.notifier = notifier
        self._listener = listener
        self._stop = trio.Event()
        self._reason = "user"
        self._shutdown: Shutdown | None = None

    async def run(self, store: Store) -> int:
        """Serve until asked to stop; the exit status."""
        async with trio.open_nursery() as nursery:
            await nursery.start(store.run)
            await nursery.start(self._signals)
            report = await self._serve(store)
            nursery.cancel_scope.cancel()  # the store ends last: until then, what the others do at their end is written
        store.close()
        return report.status

    async def _serve(self, store: Store) -> Report:
        async with trio.open_nursery() as nursery:
            supervisor = Supervisor(self.settings, store, str(self.settings.daemon.socket))
            server = self._server(supervisor, store)
            await self._recover(store)
            await nursery.start(supervisor.registry.run)
            await nursery.start(server.serve, self._listener)
            nursery.start_soon(guarded, "sweepers", Janitor(supervisor.registry).run)
            nursery.start_soon(every, LOOK, "look at the files", lambda: self._look(store))
            nursery.start_soon(self._ping)
            self.notifier.ready()
            self.notifier.status(f"serving {self.settings.daemon.socket}")
            log.info("roostd %s serves %s", __version__, self.settings.daemon.socket)
            await self._stop.wait()
            report = await self._end(supervisor, server, store)
            nursery.cancel_scope.cancel()
        return report

    async def refuse(self, error: DatabaseRefused) -> int:
        """Stay up on a socket that systemd holds, and answer each call with why nothing can be done.

        A daemon that exited would be started again by the next call, until systemd gives the socket up.
        """
        async with trio.open_nursery() as nursery:
            await nursery.start(self._signals)
            server = self._server(None, None, refused=error)
            await nursery.start(server.serve, self._listener)
            nursery.start_soon(self._ping)
            self.notifier.ready()
            self.notifier.status(f"refused: {error.message}")
            await self._stop.wait()
            self.notifier.stopping()
            await server.close(self._reason)
            nursery.cancel_scope.cancel()
        return REFUSED

    def request_stop(self, reason: str) -> None:
        """Begin to stop; asked again while stopping, wait for nothing more."""
        if not self._stop.is_set():
            self._reason = reason
            self._stop.set()
        elif self._shutdown is not None:
            log.warning("asked to stop again (%s): not waiting any longer", reason)
            self._shutdown.hurry()

    async def _signals(self, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
            task_status.started()
            async for number in received:
                self.request_stop(signal.Signals(number).name)

    def _server(
        self, supervisor: Supervisor | None, store: Store | None, refused: DatabaseRefused | None = None
    ) -> Server:
        limits = self.settings.limits
        info = Info(
            version=__version__,
            pid=os.getpid(),
            started_at=time.time_ns() // 1_000_000,
            state_directory=str(self.place.state_directory),
            database=str(self.place.database),
            socket=str(self.settings.daemon.socket),
            engines=self._engines(),
            limits=LimitsInfo(
                frame=limits.request_frame,
                nesting=rpc.Limits().nesting,
                pending=rpc.Limits().pending,
                prompt=limits.prompt,
                result=RESULT_BYTES,
                queue=limits.queue,
            ),
        )
        return Server(
            supervisor=supervisor,
            store=store,
            info=info,
            limits=rpc.Limits(frame=limits.request_frame),
            max_clients=limits.clients,
            allowed_uids=frozenset(self.settings.daemon.allowed_uids),
            request_shutdown=self.request_stop,
            refused=refused,
        )

    def _engines(self) -> list[Engine]:
        default = self.settings.sessions.default_engine
        return [
            Engine(name=name, kind=EngineKind(one.kind), command=list(one.command), default=name == default)
            for name, one in sorted(self.settings.engines.items())
        ]

    async def _recover(self, store: Store) -> None:
        """End what a dead predecessor left, then say which turns it cut off; before the first request is served."""
        left = await store.read(children.recorded)
        ended = await end_leftovers([Identity(*child[1:]) for child in left])
        interrupted: list[str] = []
        for session_id in await store.read(recovery.unfinished):
            try:
                interrupted += await store.write(_recovery(session_id))
            except (StorageFailed, StorageGone, OutcomeUnknown):
                raise
            except RoostError as exc:  # the others need not wait for it
                log.error("session %s: what was cut off in it cannot be settled: %s", session_id, exc)

        def started(tx: Tx) -> None:
            for child in left:
                children.ended(tx, child.session, child.pid)
            data = {"pid": os.getpid(), "version": __version__, "interrupted": interrupted, "ended": ended}
            tx.emit("", "daemon.started", data)

        try:
            await store.write(started)
        except (StorageFailed, OutcomeUnknown) as exc:
            log.error("that roostd has started is not on disk: %s", exc)
        if interrupted or ended:
            log.warning("recovered: %d turns interrupted, %d processes ended", len(interrupted), len(ended))

    async def _look(self, store: Store) -> None:
        changed = self.place.changed()
        if changed is not None and store.gone is None:
            store.gone = changed
            store.problem = StorageGone(f"{changed} is gone or was replaced; restart roostd", path=changed)
            log.error("%s", store.problem)
            self.notifier.status(store.problem.message)

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
        shutdown = self._shutdown = Shutdown(supervisor.registry, self._reason, self.notifier.status)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._extend)
            report = await shutdown.run()
            nursery.cancel_scope.cancel()
        duration = round((trio.current_time() - begun) * 1000)

        def stopped(tx: Tx) -> None:
            tx.emit("", "daemon.stopped", report.data(duration))

        try:
            with trio.move_on_after(REPORTING):
                await store.write(stopped)
        except RoostError as exc:
            log.error("the report of the stop is not on disk: %s", exc)
        log.log(logging.ERROR if report.status else logging.INFO, "%s", report.line())
        self.notifier.status(report.line())
        await server.close(self._reason)
        return report

    async def _extend(self) -> None:
        """systemd's stop clock runs since STOPPING=1; our own deadline bounds this."""
        with trio.move_on_after(self.settings.daemon.stop_deadline):
            while True:
                self.notifier.extend_timeout(10.0)
                await trio.sleep(1.0)


def _recovery(session_id: str) -> Callable[[Tx], list[str]]:
    return lambda tx: recovery.recover(tx, session_id)
