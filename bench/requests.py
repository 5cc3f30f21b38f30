"""Rows about asking: a round trip, many in flight, a list, the whole of ``roost ls``."""

import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from roost.protocol import rpc

from .measure import Spread, pinned, spread, timed
from .roostd import Roostd
from .scale import Scale
from .table import Row
from .wire import Wire

FLIGHT = 64


def rows(roostd: Roostd, session: str, scale: Scale) -> Iterator[Row]:
    """Args: ``session``: one of the daemon's, at rest."""
    yield from _round_trips(roostd, session, scale.rounds)
    yield from _in_flight(roostd, session, scale.in_flight)
    yield _list(roostd, scale)


@contextmanager
def echo(directory: Path, request: int, reply: bytes, *how: str) -> Generator[tuple[int, Wire]]:
    """The pid of a bare Trio program that answers every ``request`` bytes with ``reply``, and a client of it."""
    path = directory / "echo.sock"
    command = [sys.executable, "-m", "bench.echo", str(path), str(request), *how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(reply)
        process.stdin.close()
        process.stdout.readline()
        wire = Wire(str(path))
        try:
            yield process.pid, wire
        finally:
            wire.close()
            process.kill()
            path.unlink()


def _round_trips(roostd: Roostd, session: str, count: int) -> Iterator[Row]:
    what = "session.get round trip, one core, p50"
    ours, bare = _compared(roostd, rpc.request(1, "session.get", {"session": session}), count)
    ratio = ours.p50 / bare.p50
    yield Row(what, ours.ms(), f"Trio echo {bare.ms()}", ratio, "<= 1.5 x", ratio <= 1.5, "status")
    ratio = ours.p99 / bare.p99
    yield Row(what.replace("p50", "p99"), ours.ms(), f"Trio echo {bare.ms()}", ratio, "<= 2 x", ratio <= 2)


def _compared(roostd: Roostd, request: bytes, count: int) -> tuple[Spread, Spread]:
    """The same bytes to and from the daemon and a bare echo, in turns, so that both meet the same weather."""
    wire = Wire(roostd.socket)
    answer = wire.reply(request)
    ours: list[float] = []
    bare: list[float] = []
    with echo(roostd.directory, len(request), answer) as (pid, yardstick), pinned(roostd.pid, pid):
        for _ in range(10):
            wire.round_trips(request, len(answer), count // 20)
            ours += wire.round_trips(request, len(answer), count // 10)
            yardstick.round_trips(request, len(answer), count // 20)
            bare += yardstick.round_trips(request, len(answer), count // 10)
    wire.close()
    return spread(ours), spread(bare)


def _in_flight(roostd: Roostd, session: str, count: int) -> Iterator[Row]:
    requests = [rpc.request(msgid, "session.get", {"session": session}) for msgid in range(FLIGHT)]
    wire = Wire(roostd.socket)
    answer = wire.reply(requests[0])
    with echo(roostd.directory, len(requests[0]), answer, "decode") as (pid, yardstick):
        apart = _rates(wire, yardstick, requests, len(answer), count)
        with pinned(roostd.pid, pid):
            together = _rates(wire, yardstick, requests, len(answer), count)
    wire.close()
    for where, (ours, bare) in (("one core", together), ("two cores", apart)):
        what = f"session.get, {FLIGHT} in flight, {where}"
        yield Row(
            what, f"{ours:,.0f}/s", f"Trio echo, decoding, {bare:,.0f}/s", bare / ours, ">= 100,000/s", ours >= 100_000
        )


def _rates(wire: Wire, yardstick: Wire, requests: list[bytes], reply: int, count: int) -> tuple[float, float]:
    wire.in_flight(requests, reply, count // 10)
    return count / wire.in_flight(requests, reply, count), count / yardstick.in_flight(requests, reply, count)


def _list(roostd: Roostd, scale: Scale) -> Row:
    request = rpc.request(1, "session.list", {"limit": scale.sessions})
    ours, bare = _compared(roostd, request, scale.lists)
    what = f"session.list of {scale.sessions}, p50"
    return Row(what, ours.ms(), f"Trio echo {bare.ms()}", ours.p50 / bare.p50, "<= 1 ms", ours.p50 <= 1e-3, "list")


def command_row(roostd: Roostd, command: Path, count: int) -> Row:
    """The console script that pip installed, beside the least that its interpreter can do."""
    ours: list[float] = []
    bare: list[float] = []
    for _ in range(count):
        bare.append(timed(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True)))
        ours.append(
            timed(lambda: subprocess.run([command, "ls"], env=roostd.environ, stdout=subprocess.DEVNULL, check=True))
        )
    ratio = spread(ours).p50 / spread(bare).p50
    yardstick = f"python -c pass {spread(bare).ms()}"
    return Row("roost ls, whole process, p50", spread(ours).ms(), yardstick, ratio, "<= 3 x", ratio <= 3, "cli")
