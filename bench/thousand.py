"""``python -m bench thousand``: that many live built-in workers under one daemon, and all of them answer."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .measure import pss, rss, spread, timed
from .roostd import Roostd

WORKERS = {"shell": 0.5, "thinking": 0.5}
"""Engine → its share."""
SETTINGS = "[limits]\nmax_live = 0\nmax_running_turns = 2000\n"


def lines(directory: Path, count: int) -> Iterator[str]:
    """What is measured, one line each, as it is measured."""
    roostd = Roostd(directory, SETTINGS)
    with roostd:
        empty = rss(roostd.pid)
        begin = time.perf_counter()
        sessions = [id for engine, share in WORKERS.items() for id in roostd.sessions(engine, round(share * count))]
        started = time.perf_counter() - begin
        pids = roostd.children()
        yield f"{len(pids)} live workers of {len(sessions)} sessions after {started:.1f} s"
        yield f"RSS of roostd {empty:.1f} MB without them, {rss(roostd.pid):.1f} MB with them"
        shares = [pss(pid) for pid in pids]
        yield f"PSS of a worker {spread(shares).p50:.2f} MB, of all {sum(shares):.0f} MB"
        yield f"daemon.stats of all {timed(lambda: roostd.call('daemon.stats')) * 1e3:.0f} ms"
        one = spread([timed(lambda: _turn(roostd, session)) for session in sessions])  # noqa: B023 - used at once
        yield f"a turn with each, one after another {one.ms()} (p50/p99)"
        yield f"a turn with all at once {timed(lambda: _turns(roostd, sessions)):.2f} s"
        yield f"RSS of roostd {rss(roostd.pid):.1f} MB after {2 * len(sessions)} turns"
        roostd.connection.close()
        seconds, status = roostd.stop()
        yield f"orderly stop {seconds:.2f} s, exit status {status}"


def _turn(roostd: Roostd, session: str) -> None:
    _check(roostd.call("turn.wait", turn=_sent(roostd.call("turn.send", session=session, input="true"))))


def _turns(roostd: Roostd, sessions: list[str]) -> None:
    sent = [_sent(one) for one in roostd.each("turn.send", sessions, input="true")]
    for ended in roostd.all("turn.wait", [{"turn": turn} for turn in sent]):
        _check(ended)


def _sent(result: dict[str, Any]) -> str:
    return str(result["turn"]["id"])


def _check(result: dict[str, Any]) -> None:
    if result["turn"]["state"] != "completed":
        raise RuntimeError(f"a worker did not answer: {result['turn']}")
