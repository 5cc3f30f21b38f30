"""Stop the daemon, wait until its process is gone, and show the report of what was saved."""

import json
import os
import select
import signal
from collections.abc import Generator
from contextlib import contextmanager

from ..protocol.errors import ConnectionLost, DaemonUnreachable
from .invocation import Invocation, Record
from .paths import find
from .status import FAILED, OK


def stop(invocation: Invocation) -> int:
    """Stop the daemon as SIGTERM does. Exit status 1 if its report names something lost.

    Raises:
        DaemonUnreachable: none runs.
    """
    with _opened(invocation.call("daemon.status")["pid"]) as process:
        invocation.call("events.subscribe", all=True, kinds=["daemon."])
        invocation.call("daemon.shutdown", reason="user")
        report = _report(invocation)
        _wait(process)
    if report is None:
        invocation.writer.warn("roost: the daemon ended without a report; see its log")
        return FAILED
    _show(invocation, report)
    return OK if report["status"] == 0 else FAILED


def stop_unheard(invocation: Invocation) -> None:
    """Stop one whose protocol we do not speak: SIGTERM to who holds the lock. Its log has the report.

    Raises:
        DaemonUnreachable: the lock does not tell who that is, or it may not be signalled.
    """
    paths, _ = find(invocation.environ)
    try:
        with open(paths.lock, "rb") as lock:
            pid = int(json.loads(lock.readline())["pid"])
        with _opened(pid) as process:
            os.kill(pid, signal.SIGTERM)
            _wait(process)
    except (OSError, ValueError, TypeError, KeyError) as exc:
        text = f"the daemon speaks another protocol, and {paths.lock} does not tell how to end it ({exc})"
        raise DaemonUnreachable(f"{text}; send its process SIGTERM", path=paths.lock) from exc
    invocation.writer.say(f"stopped: roostd (pid {pid}), which speaks another protocol; its log has the report")


def ended(pid: int) -> None:
    """Wait for the process's end."""
    with _opened(pid) as process:
        _wait(process)


@contextmanager
def _opened(pid: int) -> Generator[int | None]:
    """A descriptor that is readable when the process has ended; None where its pid means nothing here."""
    try:
        process = os.pidfd_open(pid)
    except OSError:
        yield None
        return
    try:
        yield process
    finally:
        os.close(process)


def _wait(process: int | None) -> None:
    while process is not None and not select.select([process], [], [], 1.0)[0]:
        pass  # a Ctrl-C right before the wait is noticed now


def _report(invocation: Invocation) -> Record | None:
    """The data of the event daemon.stopped; reads until the daemon closes the connection."""
    report: Record | None = None
    daemon = invocation.daemon
    while True:
        while note := daemon.take():
            if note.params.get("kind") == "daemon.stopped":
                report = note.params["data"]
        try:
            daemon.receive()
        except ConnectionLost:
            return report


def _show(invocation: Invocation, report: Record) -> None:
    writer = invocation.writer
    if writer.json:
        writer.record(report)
        return
    writer.say(
        f"stopped: {report['sessions']} sessions, {report['saved']} saved, {report['unchanged']} unchanged, "
        f"{len(report['failed'])} failed, {len(report['timed_out'])} timed out; "
        f"{len(report['interrupted'])} turns interrupted"
    )
    for what in ("failed", "timed_out"):
        for session in report[what]:
            writer.warn(f"roost: the state of {session} was lost: {what.replace('_', ' ')}")
