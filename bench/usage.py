"""Rows about asking what all processes use, and about whoever asks for something else meanwhile."""

import select
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil

from roost.protocol import rpc

from .measure import Spread, spread, timed
from .roostd import Roostd
from .scale import Scale
from .table import Row
from .wire import Wire


def rows(roostd: Roostd, session: str, scale: Scale) -> Iterator[Row]:
    """The daemon has ``scale.sessions`` live sessions; ``session`` is one of them."""
    roostd.call("daemon.stats")  # psutil is imported by whoever asks first
    ours = spread([timed(lambda: roostd.call("daemon.stats")) for _ in range(scale.looks)])
    pids = [roostd.pid, *roostd.children()]
    bare = spread([timed(lambda: [_facts(pid) for pid in pids]) for _ in range(scale.looks)])
    what, ratio = f"daemon.stats of {len(pids) - 1} sessions, p50", ours.p50 / bare.p50
    yield Row(what, ours.ms(), f"psutil alone {bare.ms()}", ratio, "<= 100 ms", ours.p50 <= 0.1, "stats")
    alone, meanwhile = _longest(roostd, session, scale.looks)
    what, ratio = "the longest wait of another client meanwhile", meanwhile.p50 / alone.p50
    yardstick = f"as long without it {alone.ms()}"
    yield Row(what, meanwhile.ms(), yardstick, ratio, "<= 25 ms", meanwhile.p50 <= 0.025, "meanwhile")


def _facts(pid: int) -> dict[str, Any]:
    return psutil.Process(pid).as_dict(["num_threads", "cpu_times", "memory_info", "num_fds"])


def _longest(roostd: Roostd, session: str, times: int) -> tuple[Spread, Spread]:
    """The longest of the round trips that fit into one daemon.stats, and into the same time when nobody asks that."""
    wire = Wire(roostd.socket)
    request = rpc.request(1, "session.get", {"session": session})
    answer = len(wire.reply(request))
    alone: list[float] = []
    meanwhile: list[float] = []
    for _ in range(times):
        begin = time.perf_counter()
        msgid = roostd.connection.send("daemon.stats", {})
        meanwhile.append(_worst(wire, request, answer, lambda: _arrived(roostd)))
        roostd.connection.result(msgid, "daemon.stats")
        end = 2 * time.perf_counter() - begin
        alone.append(_worst(wire, request, answer, lambda: time.perf_counter() >= end))  # noqa: B023 - used at once
    wire.close()
    return spread(alone), spread(meanwhile)


def _arrived(roostd: Roostd) -> bool:
    return bool(select.select([roostd.connection], [], [], 0)[0])


def _worst(wire: Wire, request: bytes, answer: int, over: Callable[[], bool]) -> float:
    samples = [timed(lambda: wire.exchange(request, answer))]
    while not over():
        samples.append(timed(lambda: wire.exchange(request, answer)))
    return max(samples)
