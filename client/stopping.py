"""Stop the daemon, wait until its process is gone, and show the report of what was saved."""

import os
import select

from ..protocol.errors import ConnectionLost
from .invocation import Invocation, Record
from .status import FAILED, OK


def stop(invocation: Invocation) -> int:
    """Stop the daemon as SIGTERM does. Exit status 1 if its report names something lost.

    Raises:
        DaemonUnreachable: none runs.
    """
    process = _opened(invocation.call("daemon.status")["pid"])
    try:
        invocation.call("events.subscribe", all=True, kinds=["daemon."])
        invocation.call("daemon.shutdown", reason="user")
        report = _report(invocation)
        if process is not None:
            while not select.select([process], [], [], 1.0)[0]:
                pass  # a Ctrl-C right before the wait is noticed now
    finally:
        if process is not None:
            os.close(process)
    if report is None:
        invocation.writer.warn("roost: the daemon ended without a report; see its log")
        return FAILED
    _show(invocation, report)
    return OK if report["status"] == 0 else FAILED


def _opened(pid: int) -> int | None:
    """A descriptor that is readable when the process has ended; None where its pid means nothing here."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


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
