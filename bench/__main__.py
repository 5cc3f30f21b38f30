"""``make bench``: measure, and print the table. It judges nothing: the exit status is 0 unless a measurement broke."""

import argparse
import compileall
import os
import platform
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

from . import endings, events, requests, rest, spawning, thousand, turns, usage
from .peers import ENVIRONMENTS, PEERS, NotRun, measured
from .roostd import Roostd
from .scale import FULL, SMALL, Scale
from .table import Row, failed, lines

ROOMS = [Path(__file__).parents[1] / room for room in ("protocol", "daemon", "client", "worker")]
DISK = "/var/tmp"
"""On many machines /tmp is memory, where nothing has to be made durable."""


class Bench:
    """One run: the rows so far, and whether something broke."""

    def __init__(self, directory: Path, command: Path, scale: Scale) -> None:
        self.directory = directory
        self.command = command
        self.scale = scale
        self.rows: list[Row] = []
        self.broken = False

    def looks(self) -> None:
        """What it costs to look at the sessions."""
        self._with_daemon("looks", lambda roostd: self._looks(roostd, roostd.sessions("shell", 1)[0]))

    def ours(self) -> None:
        parts = {
            "at rest": self._resting,
            "events": self._events,
            "queue": lambda roostd: self._take("queue", lambda: turns.rows(roostd, self.scale)),
            "endings": lambda roostd: self._take("endings", lambda: endings.rows(roostd, self.scale)),
            "stop": lambda roostd: self._take("stop", lambda: [rest.stop_row(roostd, self.scale)]),
        }
        if self.scale.together:
            self._with_daemon("all", lambda roostd: [part(roostd) for part in parts.values()])
        else:
            for what, part in parts.items():
                self._with_daemon(what, part)
        self._take("spawning", lambda: spawning.rows(self.scale))

    def _resting(self, roostd: Roostd) -> None:
        scale = self.scale
        self._take("worker ready", lambda: [rest.ready_row(roostd, scale)])
        sessions = roostd.sessions("shell", scale.sessions - scale.starts)
        self._take("at rest", lambda: rest.resting_rows(roostd, scale))
        self._take("requests", lambda: requests.rows(roostd, sessions[0], scale))
        self._looks(roostd, sessions[0])

    def _looks(self, roostd: Roostd, session: str) -> None:
        self._take("roost ls", lambda: [requests.command_row(roostd, self.command, self.scale.commands)])
        self._take("usage", lambda: usage.rows(roostd, session, self.scale))

    def _events(self, roostd: Roostd) -> None:
        sessions = roostd.sessions("load", self.scale.sessions)
        self._take("events", lambda: events.rows(roostd, sessions, self.scale))

    def _with_daemon(self, what: str, measure: Callable[[Roostd], object]) -> None:
        directory = self.directory / what.replace(" ", "-")
        try:
            with Roostd(directory) as roostd:
                measure(roostd)
        except Exception as exc:
            self._fail(what, exc)

    def _take(self, what: str, measure: Callable[[], Iterable[Row]]) -> None:
        """The rows up to the first that breaks; the others are still measured."""
        try:
            for row in measure():
                self.rows.append(row)
                _say(f"{row.what}: {row.roost}")
        except Exception as exc:
            self._fail(what, exc)

    def _fail(self, what: str, exc: Exception) -> None:
        self.broken = True
        self.rows.append(failed(what, f"{type(exc).__name__}: {exc}"))
        traceback.print_exception(exc)

    def peers(self, environments: Path) -> tuple[dict[str, dict[str, str]], list[str]]:
        """Their figures by name, and the lines that have to stand below the table."""
        figures: dict[str, dict[str, str]] = {}
        notes: list[str] = []
        for peer in PEERS:
            directory = self.directory / peer.name
            directory.mkdir()
            _say(peer.name)
            try:
                figures[peer.name], note = measured(peer, environments, directory, self.scale)
                notes.append(note)
            except NotRun as exc:
                notes.append(f"{peer.name}: not run: {exc}")
        return figures, notes


def _say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("what", nargs="?", choices=["numbers", "thousand"], default="numbers")
    parser.add_argument("--small", action="store_true", help="a little of everything: shows only that it works")
    parser.add_argument("--only", choices=["looks", "ours", "peers"], help="a part: looks is one of ours")
    installed = Path(sys.executable).with_name("roost")
    parser.add_argument("--command", type=Path, default=installed, help="the roost whose `ls` is measured")
    parser.add_argument("--environments", type=Path, default=ENVIRONMENTS, help="where the peers are installed")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the daemon under measurement is ended too
    if args.what == "thousand":
        return _thousand(SMALL if args.small else FULL)
    begin = time.monotonic()
    for room in ROOMS:  # as pip does with a wheel, and with each peer's
        compileall.compile_dir(room, quiet=1)
    with tempfile.TemporaryDirectory(prefix="roost-", dir=DISK) as directory:
        bench = Bench(Path(directory), args.command, SMALL if args.small else FULL)
        if args.only != "peers":
            bench.looks() if args.only == "looks" else bench.ours()
        peers, notes = bench.peers(args.environments) if args.only in (None, "peers") else ({}, ["peers: not run"])
    print("\n".join(lines(bench.rows, peers)))
    print("Pairs are p50/p99. A ratio is roost to its yardstick, as many times as long, big or slow.")
    print("\n".join(notes))
    cores = len(os.sched_getaffinity(0))
    print(f"Python {platform.python_version()}, {cores} cores, {time.monotonic() - begin:.0f} s in all.")
    return int(bench.broken)


def _thousand(scale: Scale) -> int:
    with tempfile.TemporaryDirectory(prefix="roost-", dir=DISK) as directory:
        for line in thousand.lines(Path(directory) / "s", scale.workers):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
