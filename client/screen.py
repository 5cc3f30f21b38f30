"""Tables on a terminal: the only place that knows rich, imported when a person looks."""

from typing import TextIO

from rich.console import Console
from rich.table import Table as Drawn
from rich.text import Text

from .render import Table

_STYLES = {
    "busy": "green",
    "running": "green",
    "completed": "green",
    "waiting": "yellow",
    "starting": "yellow",
    "stopping": "yellow",
    "cancelled": "yellow",
    "interrupted": "yellow",
    "failed": "red",
    "archived": "dim",
}


_YIELDING = ("NAME", "WORKSPACE", "NOTE", "PROMPT", "COMMAND", "FOUND")
"""Columns that a narrow terminal may cut, or wrap."""
_WRAPPED = ("NOTE", "FOUND")


def draw(table: Table, stream: TextIO, *, colour: bool) -> None:
    """Print ``table`` in the stream's width."""
    drawn = Drawn(box=None, pad_edge=False, header_style="dim")
    for name in table.header:
        # What may not be wrapped is narrowed last; the cells themselves say whether they are.
        drawn.add_column(name, no_wrap=name not in _YIELDING, overflow="ellipsis")
    for row in table.rows:
        drawn.add_row(*(_cell(cell, wrapped=name in _WRAPPED) for name, cell in zip(table.header, row, strict=True)))
    Console(file=stream, color_system="auto" if colour else None).print(drawn)


def _cell(text: str, *, wrapped: bool) -> Text:
    # Text and not str: brackets in a title are no markup.
    return Text(text, style=_STYLES.get(text, ""), no_wrap=not wrapped, overflow="ellipsis")
