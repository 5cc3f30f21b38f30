"""Where the command speaks: what was asked for on stdout, everything else on stderr, colour for people only."""

from __future__ import annotations

import sys

from ..protocol.errors import RoostError
from .render import Table, columns, json_text

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    from typing import Any, TextIO

    from .transcript import Piece


class Writer:
    """Writes to a pair of streams.

    Args:
        quiet: give no advice and no notes.
        json: results are one JSON object a line, and nothing but them.
        colour: a person may look; False with NO_COLOR.
    """

    def __init__(
        self, out: TextIO | None = None, err: TextIO | None = None, *, quiet: bool, json: bool, colour: bool
    ) -> None:
        self.out, self.err = out or sys.stdout, err or sys.stderr
        self.quiet, self.json = quiet, json
        self.out_terminal, self.err_terminal = self.out.isatty(), self.err.isatty()
        self._colour = colour
        self._mid_line = False  # stdout stands after text that did not end its line

    def say(self, text: str) -> None:
        """Print a line of the result."""
        self.write(text + "\n")

    def write(self, text: str) -> None:
        if text:
            self.out.write(text)
            self._mid_line = not text.endswith("\n")

    def record(self, value: Any) -> None:
        """Print a result as a line of JSON."""
        self.say(json_text(value))

    def table(self, table: Table) -> None:
        """Print a table: drawn to the terminal's width for a person, aligned by spaces otherwise."""
        if self.out_terminal:
            from .screen import draw

            self.flush()
            draw(table, self.out, colour=self._colour)
        else:
            self.write(columns(table))

    def advise(self, text: str) -> None:
        """Say on stderr what to do next."""
        if not self.quiet and not self.json:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Say on stderr what must be known even with -q."""
        self.end_line()
        self.flush()
        self.err.write(self._dim(text, self.err_terminal) + "\n")
        self.err.flush()

    def error(self, exc: RoostError) -> None:
        """Say on stderr what went wrong, with the error's name; with --json as the map that crosses the wire."""
        self.warn(json_text({"error": exc.to_wire()}) if self.json else f"roost: {exc.message} ({exc.wire_name})")

    def piece(self, piece: Piece, *, notes_in_line: bool = False) -> None:
        """Show a piece of a transcript; its notes go to stderr unless they are part of what was asked for."""
        if not piece.note:
            self.write(piece.text)
        elif notes_in_line:
            self.write("\n" if self._mid_line else "")
            self.say(self._dim(piece.text, self.out_terminal))
        else:
            self.advise(piece.text)

    def end_line(self) -> None:
        """On a terminal, let what follows begin a line; a pipe gets the agent's bytes and no more."""
        if self._mid_line and self.out_terminal:
            self.write("\n")

    def flush(self) -> None:
        self.out.flush()

    def _dim(self, text: str, terminal: bool) -> str:
        return f"\x1b[2m{text}\x1b[0m" if terminal and self._colour else text
