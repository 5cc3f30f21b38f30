"""What the demo prints: acts, prompts, answers and ticks. Colour only on a terminal, and not with NO_COLOR."""

import shutil
from collections.abc import Mapping
from typing import TextIO

BOLD, DIM, RED, GREEN, CYAN = "1", "2", "31", "32", "36"
LINES = 6
"""Lines of one command's output that are shown."""


class Screen:
    """Writes the story to ``out``, flushed line by line, so that it can be watched through a pipe too."""

    def __init__(self, out: TextIO, environ: Mapping[str, str]) -> None:
        self._out = out
        self._coloured = out.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        self._width = shutil.get_terminal_size((100, 24)).columns - 1 if out.isatty() else 10_000
        unicode = (out.encoding or "").lower().startswith("utf")
        self._tick, self._cross = ("✓", "✗") if unicode else ("ok:", "FAILED:")
        self._more = "…" if unicode else "..."

    def title(self, text: str) -> None:
        self._line(text, BOLD)

    def act(self, number: int, title: str) -> None:
        self._line("")
        self._line(f"{number}. {title}", BOLD)

    def says(self, text: str) -> None:
        """A line of the narrator."""
        self._line(f"   {text}")

    def prompt(self, text: str, mark: str = "$") -> None:
        self._line(f"   {mark} {text}", CYAN)

    def output(self, text: str, last: int = LINES) -> None:
        """What a command, an engine or a log says: its last lines."""
        lines = text.splitlines()
        if len(lines) > last:
            self._line(f"   {self._more} {len(lines) - last} lines before these", DIM)
        for line in lines[-last:]:
            self._line(f"   {line}", DIM)

    def tick(self, says: str) -> None:
        self._line(f"   {self._tick} {says}", GREEN)

    def cross(self, name: str, says: str, *details: str) -> None:
        """A check that was not so, by its name, and what was seen."""
        self._line(f"   {self._cross} {name}: {says}", RED)
        for detail in details:
            self._line(f"     {detail}", whole=True)

    def _line(self, text: str, style: str = "", *, whole: bool = False) -> None:
        if len(text) > self._width and not whole:
            text = text[: self._width - 1] + self._more[:1]
        line = f"\033[{style}m{text}\033[0m" if style and self._coloured else text
        encoding = self._out.encoding or "utf-8"
        print(line.encode(encoding, "replace").decode(encoding), file=self._out, flush=True)
