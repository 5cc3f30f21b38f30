"""Rows about how things end: a crash loop, a killed daemon, and what a stopped child has started."""

import time
from collections.abc import Iterator
from pathlib import Path

from .roostd import Roostd
from .scale import Scale
from .sleepers import brood, cpu_seconds, crash, doubled, nights, sleeping, survivors, wait_until
from .table import Row

RETRIES = 50
"""Prompts of the session whose child exits at once: there is always one that wants a start."""


def rows(roostd: Roostd, scale: Scale) -> Iterator[Row]:
    yield _crash_loop(roostd, scale.crash)
    yield _survivors(roostd)
    yield _killed(roostd, scale.sessions)


def _crash_loop(roostd: Roostd, seconds: float) -> Row:
    starts = roostd.directory / "starts"
    [session] = roostd.sessions("script", 1, live=False, env={"SCRIPT": crash(starts)}, after={"failed": "continue"})
    roostd.each("turn.send", [session] * RETRIES, input="try")
    before, begin = cpu_seconds(roostd.pid), time.monotonic()
    time.sleep(seconds)
    cpu = (cpu_seconds(roostd.pid) - before) / (time.monotonic() - begin) * 100
    state = roostd.call("session.get", session=session)["session"]["state"]
    told = f"{_lines(starts)} starts, then {state}, CPU {cpu:.2f} %"
    what, goal = f"a child that exits at once: {seconds:g} s of it", "counted, then failed, CPU < 2 %"
    return Row(what, told, goal=goal, reached=state == "failed" and cpu < 2, peer_key="crash")


def _lines(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0


def _survivors(roostd: Roostd) -> Row:
    with nights(2) as (plain, apart):
        script = brood(plain, apart)
        [session] = roostd.sessions("program", 1, live=False, env={"SCRIPT": script})
        roostd.call("turn.send", session=session, input="begin")
        wait_until(lambda: bool(sleeping(plain) and sleeping(apart)))
        roostd.call("session.stop", session=session)
        told, left = survivors(plain, apart), len(sleeping(plain) + sleeping(apart))
    what = "survivors of the stop of a child that started two"
    return Row(what, told, goal="0, 0", reached=not left, peer_key="survivors")


def _killed(roostd: Roostd, count: int) -> Row:
    with nights(1) as (night,):
        script = f"exec sleep {night}"
        sessions = roostd.sessions("program", count, live=False, env={"SCRIPT": script})
        roostd.each("turn.send", sessions, input="begin")
        wait_until(lambda: len(sleeping(night)) == count)
        roostd.kill()
        roostd.start()
        left = len(sleeping(night))
    what = f"left of {count} children after kill -9 and a new start"
    return Row(what, doubled(count, left), goal="0", reached=not left, peer_key="doubled")
