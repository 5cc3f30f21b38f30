"""Rows about the queue: prompts sent to a session that has many waiting."""

from collections.abc import Iterator
from typing import Any

from . import disk
from .measure import timed
from .roostd import Roostd
from .scale import Scale
from .table import Row

PIPELINED_SECONDS = 0.2


def rows(roostd: Roostd, scale: Scale) -> Iterator[Row]:
    session = _occupied(roostd)
    one = {"session": session, "input": "hang"}
    roostd.all("turn.send", [one] * scale.queued)
    before = disk.fdatasync_mean(roostd.directory, scale.sent)
    alone = timed(lambda: _one_by_one(roostd, one, scale.sent))
    bare = (before + disk.fdatasync_mean(roostd.directory, scale.sent)) / 2
    goal = scale.sent * (2 * bare + 0.5e-3)
    what, yardstick = f"{scale.sent} turn.send", f"fdatasync {bare * 1e3:.3f} ms each"
    each = alone / scale.sent
    yield Row(
        f"{what} one after another on {scale.queued:,} queued",
        f"{alone:.3f} s",
        yardstick,
        each / bare,
        f"<= {goal:.3f} s",
        alone <= goal,
    )
    pipelined = timed(lambda: roostd.all("turn.send", [one] * scale.sent))
    yield Row(
        f"{what} pipelined",
        f"{pipelined:.3f} s",
        yardstick,
        pipelined / scale.sent / bare,
        f"<= {PIPELINED_SECONDS} s",
        pipelined <= PIPELINED_SECONDS,
    )
    roostd.all("turn.send", [one] * (scale.queued_long - scale.queued - 2 * scale.sent))
    long = timed(lambda: _one_by_one(roostd, one, scale.sent))
    yield Row(
        f"{what} one after another on {scale.queued_long:,} queued",
        f"{long:.3f} s",
        f"on {scale.queued:,}: {alone:.3f} s",
        long / alone,
        "<= 1.1 x",
        long <= 1.1 * alone,
    )


def _occupied(roostd: Roostd) -> str:
    """A session whose first turn never ends, so that all others wait."""
    [session] = roostd.sessions("load", 1)
    roostd.call("turn.send", session=session, input="hang")
    return session


def _one_by_one(roostd: Roostd, params: dict[str, Any], count: int) -> None:
    for _ in range(count):
        roostd.call("turn.send", **params)
