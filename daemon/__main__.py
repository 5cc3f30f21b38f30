"""``roostd``: settings, logging, the state directory, then Trio."""

import logging
import os
import signal
import sys
from contextlib import suppress

from .. import __version__
from ..protocol.errors import DaemonRunning, RoostError
from .app import serve
from .current import Current
from .log import Log
from .memory import save_memory
from .process.trees import DAEMON
from .settings import Settings, at, load
from .systemd import listen_socket

WRONG, LOCKED = 2, 11
"""Exit statuses: the configuration or its directories are wrong; another daemon holds the lock."""


def run() -> int:
    """Run the daemon until it is stopped; its exit status."""
    # Inherited as ignored it would reap children behind our backs, and their statuses with them.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # One that comes before it is listened for asks for what is being done anyway: reading the settings.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    environ = dict(os.environ)
    try:
        handed = listen_socket(os.environ)
        path = handed and handed.getsockname()

        def read() -> Settings:
            return at(load(environ), path) if path else load(environ)

        settings = Current(read(), read)
        form, level = "%(levelname)s %(name)s: %(message)s", settings.daemon.log_level.upper()
        logging.basicConfig(level=level, format=form, handlers=[Log()])
        return serve(settings, handed)
    except RoostError as exc:
        print(f"roostd: {exc.wire_name}: {exc.message}", file=sys.stderr, flush=True)
        return LOCKED if isinstance(exc, DaemonRunning) else WRONG


def main() -> None:
    """The command. It ends by ``os._exit``: a thread that is stuck in a dead mount must not hold the report back."""
    if sys.argv[1:]:
        _explain()
    with suppress(OSError):  # a roostd that finds another one by this name leaves it, and its children, alone
        with open("/proc/self/comm", "wb") as name:
            name.write(DAEMON)
    save_memory()
    status = run()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _explain() -> None:
    """Answer ``--version`` and ``--help``, refuse the rest. A daemon that runs does without the parser's memory."""
    import argparse

    parser = argparse.ArgumentParser(prog="roostd", description="The supervisor for AI-agent sessions.")
    parser.add_argument("--version", action="version", version=f"roostd {__version__}")
    parser.parse_args()


if __name__ == "__main__":
    main()
