"""Percentiles, and what /proc says of a process. Only the standard library: the peers' interpreters use it too."""

import math
import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

MB = 1_000_000


class Spread(NamedTuple):
    """Seconds."""

    p50: float
    p99: float

    def ms(self) -> str:
        return f"{self.p50 * 1e3:.3f}/{self.p99 * 1e3:.3f} ms"


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least ``share`` (0 to 1) of them do not exceed."""
    return sorted(samples)[max(0, math.ceil(len(samples) * share) - 1)]


def spread(samples: Sequence[float]) -> Spread:
    return Spread(percentile(samples, 0.5), percentile(samples, 0.99))


def timed(what: Callable[[], object]) -> float:
    """How many seconds ``what`` takes."""
    begin = time.perf_counter()
    what()
    return time.perf_counter() - begin


@contextmanager
def pinned(*pids: int) -> Generator[None]:
    """This process and all threads of ``pids`` on one and the same core, for as long as it lasts."""
    everywhere = os.sched_getaffinity(0)
    _place({os.getpid(), *pids}, {min(everywhere)})
    try:
        yield
    finally:
        _place({os.getpid(), *pids}, everywhere)


def _place(pids: set[int], cores: set[int]) -> None:
    for pid in pids:
        for thread in threads(pid):
            os.sched_setaffinity(int(thread.name), cores)


def threads(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").iterdir())


def _activity(pid: int) -> dict[str, tuple[int, int]]:
    """Of each thread: its voluntary context switches, and its nanoseconds on a core."""
    return {
        thread.name: (
            int(_field(thread / "status", "voluntary_ctxt_switches")),
            int((thread / "schedstat").read_text().split()[0]),
        )
        for thread in threads(pid)
    }


def idleness(pid: int, seconds: float) -> tuple[float, float]:
    """Voluntary context switches a second, and the share of one core in percent, while nobody asks anything.

    A thread that ends meanwhile is left out: measure what has come to rest.
    """
    before = _activity(pid)
    time.sleep(seconds)
    after = _activity(pid)
    done = [(now[0] - then[0], now[1] - then[1]) for name, now in after.items() if (then := before.get(name, (0, 0)))]
    switches, nanoseconds = map(sum, zip(*done, strict=True))
    return switches / seconds, nanoseconds / 1e9 / seconds * 100


def rss(pid: int) -> float:
    """Resident memory in MB (10^6 bytes)."""
    return _kib(_field(Path(f"/proc/{pid}/status"), "VmRSS"))


def pss(pid: int) -> float:
    """Memory in MB, where a page that n processes share counts as 1/n."""
    return _kib(_field(Path(f"/proc/{pid}/smaps_rollup"), "Pss"))


def _kib(value: str) -> float:
    return int(value.removesuffix(" kB")) * 1024 / MB


def _field(file: Path, name: str) -> str:
    for line in file.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return line.partition(":")[2].strip()
    raise ValueError(f"{file} has no {name}; this kernel is not one we can measure on")
