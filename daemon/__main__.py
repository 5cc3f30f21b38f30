"""``roostd``: settings, logging, the state directory, then Trio."""

import argparse
import logging
import os
import signal
import sys

from .. import __version__
from ..protocol.errors import DaemonRunning, RoostError
from .app import serve
from .settings import at, load
from .systemd import listen_socket

WRONG, LOCKED = 2, 11
"""Exit statuses: the configuration or its directories are wrong; another daemon holds the lock."""


def run() -> int:
    """Run the daemon until it is stopped; its exit status."""
    # Inherited as ignored it would reap children behind our backs, and their statuses with them.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        settings = load(os.environ)
        logging.basicConfig(level=settings.daemon.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
        handed = listen_socket(os.environ)
        return serve(settings if handed is None else at(settings, handed.getsockname()), handed)
    except RoostError as exc:
        print(f"roostd: {exc.wire_name}: {exc.message}", file=sys.stderr, flush=True)
        return LOCKED if isinstance(exc, DaemonRunning) else WRONG


def main() -> None:
    """The command. It ends by ``os._exit``: a thread that is stuck in a dead mount must not hold the report back."""
    parser = argparse.ArgumentParser(prog="roostd", description="The supervisor for AI-agent sessions.")
    parser.add_argument("--version", action="version", version=f"roostd {__version__}")
    parser.parse_args()
    status = run()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
