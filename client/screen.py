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


def draw(table: Table, stream: TextIO, *, colour: bool) -> None:
    """Print ``table`` in the stream's width."""
    drawn = Drawn(box=None, pad_edge=False, header_style="dim")
    for name in table.header:
        drawn.add_column(name, overflow="fold" if name in ("SESSION", "TURN") else "ellipsis", no_wrap=name != "NOTE")
    for row in table.rows:
        # Text and not str: brackets in a title are no markup.
        drawn.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console(file=stream, color_system="auto" if colour else None).print(drawn)
