"""Limits of a session as options of a verb: read, checked before anything is sent."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ..protocol import sizes

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    from typing import Any

NONE = "none"
"""Takes a limit away."""
LARGEST = 2**63 - 1


def add(parser: argparse.ArgumentParser, *, clearable: bool = False) -> None:
    """The options; ``clearable``: each takes ``none``, too."""
    group = parser.add_argument_group("limits of the session; its engine's hold where none is given")
    for name, (metavar, read, meaning) in _LIMITS.items():
        read = _or_none(read) if clearable else read
        group.add_argument(f"--{name.replace('_', '-')}", metavar=metavar, type=read, help=meaning)


def given(args: argparse.Namespace) -> dict[str, Any]:
    """The limits that were named, by the names of the protocol."""
    return {name: value for name in _LIMITS if (value := getattr(args, name)) is not None}


def size(text: str) -> int:
    """``512MiB`` and the like, in bytes."""
    try:
        return sizes.parse(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


def number(text: str) -> int:
    """A number from 1."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= LARGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1")
    return int(text)


def processors(text: str) -> float:
    """``1.5`` and the like, above 0."""
    try:
        count = float(text)
    except ValueError:
        count = 0.0
    if not 0 < count < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processors: write 0.5, 2 or 1.5")
    return count


def _or_none(read: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: NONE if text == NONE else read(text)


_LIMITS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "memory_max": ("SIZE", size, "memory of all its processes together (512MiB, 2GiB)"),
    "pids_max": ("N", number, "processes and threads of it together"),
    "cpu_max": ("N", processors, "processors that it may keep busy (1.5)"),
    "nofile": ("N", number, "open descriptors of each of its processes"),
}
