"""What the verbs' parsers share: the options of every verb, and the types of arguments."""

from __future__ import annotations

import argparse
import os

from .status import USAGE

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong the way the command says all else."""

    prompts = False
    """It takes a prompt: options may stand among its words, up to a ``--``."""

    def parse(self, argv: list[str], options: argparse.Namespace) -> argparse.Namespace:
        if not self.prompts:
            return self.parse_args(argv, options)
        # argparse loses the -- of intermixed arguments
        end = argv.index("--") if "--" in argv else len(argv)
        parsed = self.parse_intermixed_args(argv[:end], options)
        parsed.prompt += argv[end + 1 :]
        return parsed

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"roost: {message}; see `{self.prog} --help` (usage)\n")


def formatter(prog: str) -> argparse.HelpFormatter:
    # Its width is given, since argparse would import shutil for each argument to find it.
    return argparse.RawDescriptionHelpFormatter(prog, width=_WIDTH, max_help_position=32)


def _width() -> int:
    try:
        return min(os.get_terminal_size(1).columns, 110)
    except OSError:
        return 100


_WIDTH = _width()


def add_global(parser: argparse.ArgumentParser) -> None:
    """The options that may stand before or after the verb."""
    add = parser.add_argument_group("everywhere").add_argument
    unset = argparse.SUPPRESS  # so that what stood before the verb stays
    add("--socket", metavar="PATH", default=unset, help="the daemon's socket (ROOST_SOCKET)")
    add("--state", metavar="DIR", default=unset, help="the daemon's state directory (ROOST_STATE_DIRECTORY)")
    add("--no-start", action="store_true", default=unset, help="do not start a daemon (ROOST_NO_START=1)")
    add("--json", action="store_true", default=unset, help="print one JSON object a line")
    add("-q", "--quiet", action="store_true", default=unset, help="print the final result only, and no advice")


def add_prompt(parser: Parser) -> None:
    parser.prompts = True
    parser.add_argument("prompt", nargs="*", help="the prompt; - reads stdin; nothing opens $EDITOR on a terminal")
    parser.add_argument("--file", metavar="PATH", help="read the prompt from a file")


def add_sessions(parser: Parser, nargs: str = "+") -> None:
    parser.add_argument("sessions", metavar="S", nargs=nargs, help="id, start of an id, or name")


def add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--timeout", metavar="TIME", type=duration, help="end the turn after this long (90s, 5m, 1h)")
    parser.add_argument("--idle-timeout", metavar="TIME", type=duration, help="end it when silent for so long")


def add_creation(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-e", "--engine", metavar="ENGINE", help="the engine (`roost daemon engines` lists them)")
    add("-C", "--directory", metavar="DIR", help="the workspace, instead of the working directory")
    add("--name", metavar="NAME", help="a name for the session")
    add("--env", metavar="K=V", action="append", default=[], help="a variable for its child; K alone takes yours")
    add("--after", metavar="END=WHAT", action="append", default=[], type=after,
        help="what follows a failed, interrupted or cancelled turn: continue, hold or retry")  # fmt: skip


def duration(text: str) -> int:
    """``90``, ``90s``, ``5m``, ``1.5h``, ``200ms`` in milliseconds."""
    number = text.rstrip("hms")
    unit = {"": 1000, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}.get(text[len(number) :])
    try:
        milliseconds = round(float(number) * (unit or 0))
    except (ValueError, OverflowError):
        milliseconds = 0
    if milliseconds < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: write 200ms, 90s, 5m or 1h")
    return milliseconds


def after(text: str) -> tuple[str, str]:
    """``failed=continue`` and the like."""
    end, _, what = text.partition("=")
    if end not in ("failed", "interrupted", "cancelled") or what not in ("continue", "hold", "retry"):
        raise argparse.ArgumentTypeError(f"{text!r}: write failed|interrupted|cancelled=continue|hold|retry")
    return end, what


def count(text: str) -> int:
    """A number from 0."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0")
    return int(text)
