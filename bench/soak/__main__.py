"""``make soak``: the rounds of the orphans' test, then the soak. Exit status 1: something was lost, left, or grew."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

from ..__main__ import DISK
from ..peers import ROOT
from .ledger import Broken
from .report import lines
from .run import Plan, Soak

ORPHANS = "tests/end_to_end/test_orphans.py"


def orphans(rounds: int) -> bool:
    """Whether 200 sessions left no process, that often in each of the three ways."""
    begin = time.monotonic()
    environ = {**os.environ, "ROUNDS": str(rounds)}
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", ORPHANS]
    done = subprocess.run(command, cwd=ROOT, env=environ, check=False)
    print(f"{rounds} rounds of {ORPHANS}: {time.monotonic() - begin:.0f} s, exit status {done.returncode}", flush=True)
    return done.returncode == 0


def soaked(plan: Plan, samples: Path | None) -> bool:
    """Whether all was well. ``samples``: where to write all that was measured."""
    with tempfile.TemporaryDirectory(prefix="roost-", dir=DISK) as directory:
        soak = Soak(Path(directory) / "s", plan)
        try:
            trio.run(soak.run)
        except* Broken as group:
            soak.problems += [str(broken) for broken in group.exceptions]
        print("\n".join(lines(soak)), flush=True)
    if samples:
        samples.write_text(json.dumps([[sample._asdict() for sample in life] for life in soak.samples]))
    return not soak.problems


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.soak", description=__doc__)
    plan = Plan(0)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=20, help="of the orphans' test; 0: none")
    parser.add_argument("--sessions", type=int, default=plan.sessions)
    parser.add_argument("--rate", type=float, default=plan.rate, help="turns a second of all sessions together")
    parser.add_argument("--visitors", type=int, default=plan.visitors, help="subscribers that come and go")
    parser.add_argument("--slow", type=int, default=plan.slow, help="slow subscribers")
    parser.add_argument("--stopped", type=int, default=plan.stopped, help="subscribers that are stopped now and then")
    parser.add_argument("--samples", type=Path, metavar="FILE", help="write all samples there, as JSON, life by life")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the daemon is ended too
    well = not args.rounds or orphans(args.rounds)
    plan = Plan(args.minutes * 60, args.sessions, args.rate, args.visitors, args.slow, args.stopped)
    return int(not soaked(plan, args.samples) or not well)


if __name__ == "__main__":
    sys.exit(main())
