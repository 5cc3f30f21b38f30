"""``roostd``: settings, logging, the state directory, then Trio."""

import argparse
import logging
import os
import signal
import sys
from functools import partial

import trio

from .. import __version__
from ..protocol.errors import DaemonRunning, DatabaseRefused, RoostError
from .app import REFUSED, App
from .place import Place
from .settings import at, load
from .store import Store
from .systemd import Notifier, listen_socket

WRONG, LOCKED = 2, 11
"""Exit statuses: the configuration or its directories are wrong; another daemon holds the lock."""


def serve() -> int:
    """Run the daemon until it is stopped; its exit status."""
    # Inherited as ignored it would reap children behind our backs, and their statuses with them.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        settings = load(os.environ)
        logging.basicConfig(level=settings.daemon.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
        listener = listen_socket(os.environ)
        if listener is not None:
            settings = at(settings, listener.getsockname())
        place = Place.take(settings)
        notifier = Notifier(os.environ)
        os.environ.pop("NOTIFY_SOCKET", None)  # no child speaks for the daemon
        app = App(settings, place, listener, notifier)
        try:
            store = Store.open(place.database, used=place.used)
        except DatabaseRefused as exc:
            print(f"roostd: {exc.name}: {exc.message}", file=sys.stderr, flush=True)
            return trio.run(partial(app.refuse, exc)) if listener is not None else REFUSED
        place.mark_used()
        place.watch(place.database)
        status = trio.run(app.run, store)
        place.release()
        return status
    except RoostError as exc:
        print(f"roostd: {exc.wire_name}: {exc.message}", file=sys.stderr, flush=True)
        return LOCKED if isinstance(exc, DaemonRunning) else WRONG


def main() -> None:
    """The command. It ends by ``os._exit``: a thread that is stuck in a dead mount must not hold the report back."""
    parser = argparse.ArgumentParser(prog="roostd", description="The supervisor for AI-agent sessions.")
    parser.add_argument("--version", action="version", version=f"roostd {__version__}")
    parser.parse_args()
    status = serve()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
