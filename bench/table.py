"""The table that is printed: what | roost | yardstick | ratio | goal | reached | peers."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

HEADS = ("what", "roost", "yardstick", "ratio", "goal", "reached", "peers")


class Row(NamedTuple):
    """One number.

    Attributes:
        yardstick: what a bare program needs for the same, measured in the same run.
        reached: None when there is no goal.
        peer_key: under which name the peers' own numbers for this are found; empty: they have nothing like it.
    """

    what: str
    roost: str
    yardstick: str = "-"
    ratio: float | None = None
    goal: str = "-"
    reached: bool | None = None
    peer_key: str = ""


def failed(what: str, reason: str) -> Row:
    """A row of which there is no number."""
    return Row(what, f"not measured: {reason}")


def lines(rows: Iterable[Row], peers: dict[str, dict[str, str]]) -> list[str]:
    """The table's lines. ``peers``: name → its numbers by key."""
    cells = [HEADS, *(_cells(row, peers) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADS))]
    rule = tuple("-" * width for width in widths)
    return [_line(row, widths) for row in (cells[0], rule, *cells[1:])]


def _cells(row: Row, peers: dict[str, dict[str, str]]) -> tuple[str, ...]:
    ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
    reached = "-" if row.reached is None else "yes" if row.reached else "NO"
    theirs = [f"{name} {numbers[row.peer_key]}" for name, numbers in peers.items() if row.peer_key in numbers]
    return (row.what, row.roost, row.yardstick, ratio, row.goal, reached, ", ".join(theirs) or "-")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
