"""Rows about events: how late they reach a subscriber, how many become durable, how many can be handed out."""

import json
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from roost.protocol import rpc

from . import disk
from .measure import spread
from .roostd import Roostd
from .scale import Scale
from .table import Row
from .wire import Wire

RATE = 1_000
"""Events a second when their latency is measured."""


def rows(roostd: Roostd, sessions: list[str], scale: Scale) -> Iterator[Row]:
    """Args: ``sessions``: live ones of the engine ``load``, at rest."""
    yield from _latency(roostd, sessions[0], scale.ticks)
    yield _rate(roostd, sessions, f"burst {scale.events}", "durable events, {} sessions, FULL", judged=True)
    yield _rate(roostd, sessions, f"items {scale.events // 3}", "the same, as items (start, delta, end)", judged=False)
    yield _fan_out(roostd, sessions[0], scale)


def _latency(roostd: Roostd, session: str, count: int) -> Iterator[Row]:
    ours = spread(_lateness(roostd, session, count))
    bare = disk.commit_spread(roostd.directory, count // 2, RATE)
    what, yardstick = f"child -> commit -> subscriber at {RATE:,}/s", f"one-row commit {bare.ms()}"
    goal = "<= commit + 0.5 ms"
    yield Row(f"{what}, p50", ours.ms(), yardstick, ours.p50 / bare.p50, goal, ours.p50 <= bare.p50 + 0.5e-3)
    yield Row(f"{what}, p99", ours.ms(), yardstick, ours.p99 / bare.p99, "<= 4 ms", ours.p99 <= 4e-3)


def _lateness(roostd: Roostd, session: str, count: int) -> list[float]:
    """Seconds between the child's writing of each event and the subscriber's having read it."""
    wire = Wire(roostd.socket)
    wire.reply(rpc.request(1, "events.subscribe", {"session": session, "kinds": ["turn.progressed", "turn.completed"]}))
    roostd.call("turn.send", session=session, input=f"tick {count} {RATE}")
    samples: list[float] = []
    for message in wire.messages():
        now = time.monotonic_ns()
        if not isinstance(message, rpc.Notification) or message.params["kind"] == "turn.completed":
            break
        samples.append((now - int(message.params["data"]["message"])) / 1e9)
    wire.close()
    if len(samples) != count:
        raise RuntimeError(f"{count} events were sent and {len(samples)} arrived")
    return samples


def _rate(roostd: Roostd, sessions: list[str], prompt: str, what: str, *, judged: bool) -> Row:
    before, begin = roostd.offset(), time.perf_counter()
    roostd.each("turn.send", sessions, input=prompt)
    roostd.each("session.wait", sessions)
    seconds, count = time.perf_counter() - begin, roostd.offset() - before
    if (sent := int(prompt.split()[1]) * len(sessions)) > count:
        raise RuntimeError(f"the children sent {sent} events and {count} were stored")
    rate, bare = count / seconds, disk.rows_per_second(roostd.directory, count)
    yardstick = f"bare SQLite {bare:,.0f} rows/s"
    goal, reached = (">= 50,000/s", rate >= 50_000) if judged else ("-", None)
    return Row(what.format(len(sessions)), f"{rate:,.0f}/s", yardstick, bare / rate, goal, reached)


def _fan_out(roostd: Roostd, session: str, scale: Scale) -> Row:
    with _subscribers(roostd.socket, scale.subscribers, session) as process:
        roostd.call("turn.send", session=session, input=f"burst {scale.published}")
        ours = _deliveries(process)
    bare = _bare_fan_out(roostd.directory, scale)
    what = f"deliveries to {scale.subscribers} that decode and check seq"
    yardstick = f"bare Trio {bare:,.0f}/s"
    return Row(what, f"{ours:,.0f}/s", yardstick, bare / ours, ">= 300,000/s", ours >= 300_000)


def _bare_fan_out(directory: Path, scale: Scale) -> float:
    path = str(directory / "fan.sock")
    command = [sys.executable, "-m", "bench.fan", path, str(scale.subscribers), str(scale.published)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as fan:
        assert fan.stdin is not None and fan.stdout is not None
        fan.stdout.readline()
        with _subscribers(path, scale.subscribers, "-") as process:
            fan.stdin.close()
            rate = _deliveries(process)
        fan.kill()
    return rate


@contextmanager
def _subscribers(path: str, count: int, session: str) -> Generator[subprocess.Popen[bytes]]:
    """They have all subscribed when this begins."""
    command = [sys.executable, "-m", "bench.subscribers", path, str(count), session]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def _deliveries(process: subprocess.Popen[bytes]) -> float:
    """Events a second that all of them together got."""
    assert process.stdout is not None
    if not (told := process.stdout.readline()):
        raise RuntimeError("the subscribers did not get all events, in order; see above")
    found = json.loads(told)
    return float(found["events"] / found["seconds"])
