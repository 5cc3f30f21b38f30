"""Rows about a daemon that has little to do: memory, workers, idling, and the stop."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

from roost.protocol import rpc

from .measure import idleness, pss, rss, spread, timed
from .roostd import HERE, Roostd
from .scale import Scale
from .table import Row


def resting_rows(roostd: Roostd, scale: Scale) -> Iterator[Row]:
    """The daemon has ``scale.sessions`` live sessions of a built-in worker, and nobody asks it anything."""
    time.sleep(scale.settle)
    yield _resident(roostd, scale)
    yield from _idle(roostd, scale)
    yield _worker_memory(roostd)


def ready_row(roostd: Roostd, scale: Scale) -> Row:
    """How long a session takes from ``session.start`` to its answer, one after another."""
    sessions = roostd.sessions("shell", scale.starts, live=False)
    ours = spread([timed(partial(roostd.call, "session.start", session=session)) for session in sessions])
    command = [sys.executable, "-c", "pass"]
    bare = spread([timed(lambda: subprocess.run(command, check=True)) for _ in range(scale.starts)])
    yardstick = f"python -c pass {bare.ms()}"
    what, ratio = "built-in worker ready (session.start), p50", ours.p50 / bare.p50
    return Row(what, ours.ms(), yardstick, ratio, "<= 60 ms", ours.p50 <= 0.06, "ready")


def stop_row(roostd: Roostd, scale: Scale) -> Row:
    """SIGTERM while each session has a state that is nowhere else."""
    sessions = roostd.sessions("dirty", scale.sessions)
    roostd.each("turn.send", sessions, input="change something")
    roostd.each("session.wait", sessions)
    roostd.connection.close()
    seconds, status = roostd.stop()
    roostd.start()  # the report is in its event log
    page = roostd.call("events.read", all=True, kinds=["daemon.stopped"])
    report = page["events"][-1]["data"]
    saved = report["saved"]
    bare = _bare_stop(scale.sessions)
    told = f"{seconds:.3f} s, {saved} saved, exit {status}"
    reached = seconds <= 2 and saved == scale.sessions and status == 0
    what, yardstick = f"SIGTERM with {scale.sessions} live, all dirty", f"bare children {bare:.3f} s"
    return Row(what, told, yardstick, seconds / bare, "<= 2 s, all saved", reached, "stop")


def _bare_stop(count: int) -> float:
    """Seconds until as many of the same children have ended when all are told at once and nothing is saved."""
    command = [sys.executable, "-P", str(HERE / "dirty.py")]
    with ExitStack() as stack:
        children = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            for _ in range(count)
        ]
        for child in children:
            _tell(child, rpc.request(1, "ping", {}))
        for child in children:
            assert child.stdout is not None
            os.read(child.stdout.fileno(), 4096)

        def stop() -> None:
            for child in children:
                _tell(child, rpc.request(2, "shutdown", {}))
            for child in children:
                child.wait()

        return timed(stop)


def _tell(child: subprocess.Popen[bytes], message: bytes) -> None:
    assert child.stdin is not None
    child.stdin.write(message)
    child.stdin.flush()


def _resident(roostd: Roostd, scale: Scale) -> Row:
    ours = rss(roostd.pid)
    bare = _waiting("import trio, msgpack, sqlite3, pydantic; pydantic.create_model('One', field=int)", rss)
    what, yardstick = f"RSS of roostd, {scale.sessions} live sessions", f"its imports alone {bare:.1f} MB"
    return Row(what, f"{ours:.1f} MB", yardstick, ours / bare, "<= 64 MB", ours <= 64, "rss")


def _idle(roostd: Roostd, scale: Scale) -> Iterator[Row]:
    switches, cpu = idleness(roostd.pid, scale.idle)
    bare_cpu = _bare_idle(switches, scale.idle)
    what, bare = f"idle, {scale.sessions} live sessions", "a Trio program that wakes as often"
    yield Row(f"{what}: context switches", f"{switches:.1f}/s", "-", None, "<= 5/s", switches <= 5, "switches")
    yield Row(f"{what}: CPU", f"{cpu:.3f} %", f"{bare} {bare_cpu:.3f} %", cpu / bare_cpu, "<= 0.1 %", cpu <= 0.1, "cpu")


def _bare_idle(switches: float, seconds: float) -> float:
    code = f"import trio\nasync def main():\n    while True: await trio.sleep({1 / switches})\ntrio.run(main)"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        try:
            time.sleep(1)
            return idleness(process.pid, seconds)[1]
        finally:
            process.kill()


def _worker_memory(roostd: Roostd) -> Row:
    ours = spread([pss(pid) for pid in roostd.children()]).p50
    bare = _waiting("import msgpack", pss)
    yardstick = f"python with msgpack, alone {bare:.1f} MB"
    return Row("PSS of a built-in worker", f"{ours:.1f} MB", yardstick, ours / bare, "<= 5 MB", ours <= 5, "child")


def _waiting(code: str, memory: Callable[[int], float]) -> float:
    """The memory of an interpreter that has run ``code`` and waits."""
    command = [sys.executable, "-c", f"{code}; print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            return memory(process.pid)
        finally:
            process.kill()
