"""Rows about the queue: prompts sent to a session that has many waiting."""

from collections.abc import Iterator
from typing import Any

from . import disk
from .measure import timed
from .roostd import Roostd
from .scale import Scale
from .table import Row

BLOCKS = 10
"""What is compared is measured in so many turns, so that all of it meets the same weather."""
PIPELINED_SECONDS = 0.2


def rows(roostd: Roostd, scale: Scale) -> Iterator[Row]:
    few, many = _waiting(roostd, scale.queued), _waiting(roostd, scale.queued_long)
    short, long, bare = _compared(roostd, few, many, scale.sent)
    what, yardstick = f"{scale.sent} turn.send", f"{scale.sent} fdatasync {bare:.3f} s"
    goal = 2 * bare + scale.sent * 0.5e-3
    one_by_one = f"{what} one after another on"
    yield Row(
        f"{one_by_one} {scale.queued:,} queued",
        f"{short:.3f} s",
        yardstick,
        short / bare,
        f"<= {goal:.3f} s",
        short <= goal,
    )
    growth = long / short
    yield Row(
        f"{one_by_one} {scale.queued_long:,} queued",
        f"{long:.3f} s",
        f"on {scale.queued:,} {short:.3f} s",
        growth,
        "<= 1.1 x",
        growth <= 1.1,
    )
    pipelined = timed(lambda: roostd.all("turn.send", [few] * scale.sent))
    goal_text, reached = f"<= {PIPELINED_SECONDS} s", pipelined <= PIPELINED_SECONDS
    yield Row(f"{what} pipelined", f"{pipelined:.3f} s", yardstick, pipelined / bare, goal_text, reached)


def _waiting(roostd: Roostd, queued: int) -> dict[str, Any]:
    """A prompt for a session whose first turn never ends, so that ``queued`` others wait."""
    [session] = roostd.sessions("load", 1)
    prompt = {"session": session, "input": "hang"}
    roostd.all("turn.send", [prompt] * (queued + 1))
    return prompt


def _compared(roostd: Roostd, few: dict[str, Any], many: dict[str, Any], count: int) -> tuple[float, float, float]:
    """Seconds for ``count`` prompts one after another, on few and on many that wait, and for as many fdatasyncs."""
    short = long = bare = 0.0
    block = count // BLOCKS
    for _ in range(BLOCKS):
        short += timed(lambda: _one_by_one(roostd, few, block))
        long += timed(lambda: _one_by_one(roostd, many, block))
        bare += disk.fdatasync_mean(roostd.directory, block) * block
    return short, long, bare


def _one_by_one(roostd: Roostd, params: dict[str, Any], count: int) -> None:
    for _ in range(count):
        roostd.call("turn.send", **params)
