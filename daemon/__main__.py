"""``roostd``: settings, logging, the state directory, then Trio."""

import errno
import logging
import os
import signal
import sys
from contextlib import suppress

from .. import __version__
from ..protocol.errors import (
    DaemonRunning,
    InvalidSettings,
    RoostError,
    SocketInUse,
    SocketPathTooLong,
    StateDirectoryUnusable,
)
from .app import serve
from .current import Current
from .log import Log
from .memory import save_memory
from .process.proc import MARKS
from .process.trees import DAEMON
from .settings import Settings, at, load
from .systemd import listen_socket

FAILED, WRONG, LOCKED = 1, 2, 11
"""Exit statuses: what may pass; the configuration or its directories are wrong; another daemon holds the lock."""
_CORRECTED_BY_HAND = (InvalidSettings, StateDirectoryUnusable, SocketInUse, SocketPathTooLong)
_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM}


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
        return _status(exc)


def _status(exc: RoostError) -> int:
    """systemd tries again after what may pass, and not after what somebody has to correct."""
    if isinstance(exc, DaemonRunning):
        return LOCKED
    passing = isinstance(exc.__cause__, OSError) and exc.__cause__.errno in _PASSING
    return WRONG if isinstance(exc, _CORRECTED_BY_HAND) and not passing else FAILED


def main() -> None:
    """The command. It ends by ``os._exit``: a thread that is stuck in a dead mount must not hold the report back."""
    _open_missing()
    if sys.argv[1:]:
        _explain()
    _drop_marks()
    with suppress(OSError):  # a roostd that finds another one by this name leaves it, and its children, alone
        with open("/proc/self/comm", "wb") as name:
            name.write(DAEMON)
    save_memory()
    status = run()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _open_missing() -> None:
    """/dev/null for what was closed of stdin, stdout and stderr: else the lock has its number, and takes in the log."""
    for descriptor, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(descriptor)
        except OSError:
            file = open(os.devnull, mode)  # the lowest number that is free is this one
            os.set_inheritable(descriptor, True)
            setattr(sys, name, file)


def _drop_marks() -> None:
    """Begin anew without them if an agent started this: what bears the mark of a session ends with it.

    Others see the environment that ``exec`` was given. The pid stays, and with it what systemd has handed over.
    """
    environ = {name: value for name, value in os.environb.items() if name + b"=" not in MARKS}
    if len(environ) < len(os.environb):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environ)


def _explain() -> None:
    """Answer ``--version`` and ``--help``, refuse the rest. A daemon that runs does without the parser's memory."""
    import argparse

    parser = argparse.ArgumentParser(prog="roostd", description="The supervisor for AI-agent sessions.")
    parser.add_argument("--version", action="version", version=f"roostd {__version__}")
    parser.parse_args()


if __name__ == "__main__":
    main()
