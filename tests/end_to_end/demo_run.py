"""Plays the acts, makes each check, and says with the exit status whether all of it was so.

``--record FILE`` also keeps what was seen; ``--replay FILE`` judges that instead of a daemon.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import trio

from .demo_acts import ACTS, Act
from .demo_checks import CHECKS, Check, Seen
from .demo_screen import Screen
from .demo_stage import Broken, Stage

SECONDS = 55.0
"""The whole play takes less, or is broken."""
LOG_LINES = 15


def main(arguments: Sequence[str]) -> int:
    """0: everything was so; 1: something was not, and was named; 128 + n: signal n ended it."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--record", type=Path, metavar="FILE")
    parser.add_argument("--replay", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    screen = Screen(sys.stdout, os.environ)
    screen.title("roost at work: two sessions, a stop in the middle of a turn, a start again")
    begun = time.monotonic()
    if options.replay:
        status = replay(json.loads(options.replay.read_text()), screen)
    else:
        demo = Demo(screen)
        status = demo.run()
        if options.record:
            options.record.write_text(json.dumps(demo.seen))
    if status == 0:
        screen.title(f"\nAll {len(CHECKS)} checks were so, in {time.monotonic() - begun:.1f} s. Next: roost --help")
    return status


def replay(seen: Seen, screen: Screen) -> int:
    """Tell and judge what was seen before."""
    for number, act in enumerate(ACTS, start=1):
        screen.act(number, act.title)
        if not show(act, seen, screen):
            return 1
    return 0


def show(act: Act, seen: Seen, screen: Screen) -> bool:
    """Tell one act and make its checks; whether each was so."""
    try:
        act.tell(seen, screen)
    except (LookupError, TypeError) as exc:
        screen.says(f"(what was seen cannot be told: {exc!r})")
    return all([judge(check, seen, screen) for check in CHECKS if check.act == act.name])


def judge(check: Check, seen: Seen, screen: Screen) -> bool:
    """Make one check and say how it went."""
    try:
        saw, promised = check.compare(seen)
    except (LookupError, TypeError, AttributeError) as exc:
        saw, promised = f"not what can be compared: {exc!r}", "something that can"
    if saw == promised:
        screen.tick(check.says)
        return True
    screen.cross(check.name, check.says, f"seen:     {saw}", f"promised: {promised}")
    return False


class Demo:
    """One play from beginning to end. Whatever happens, nothing that it started outlives it."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.seen: Seen = {}
        self.status = 0
        self._act = ACTS[0]

    def run(self) -> int:
        with tempfile.TemporaryDirectory(prefix="roost-demo-", ignore_cleanup_errors=True) as directory:
            try:
                trio.run(self._perform, Path(directory).resolve())
            except* Exception as group:
                self._broken(group)
            if self.status == 1:
                self._show_log(Path(directory, "roostd.log"))
        return self.status

    async def _perform(self, directory: Path) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as received:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, received, nursery.cancel_scope)
                stage = Stage(directory, nursery)
                try:
                    with trio.move_on_after(SECONDS) as scope:
                        await self._play(stage)
                    if scope.cancelled_caught:
                        raise Broken(f"the whole play took longer than {SECONDS:g} s")
                finally:
                    await stage.close()
                nursery.cancel_scope.cancel()

    async def _play(self, stage: Stage) -> None:
        for number, self._act in enumerate(ACTS, start=1):
            act = self._act
            self.screen.act(number, act.title)
            await act.play(stage, self.seen)
            if not show(act, self.seen, self.screen):
                self.status = 1
                return

    async def _obey(self, received: AsyncIterator[int], scope: trio.CancelScope) -> None:
        async for number in received:
            self.screen.says(f"{signal.Signals(number).name}: ending what was started")
            self.status = 128 + number
            scope.cancel()

    def _broken(self, group: BaseExceptionGroup[Exception]) -> None:
        """The act could not be played to its end, so none of its checks could be made."""
        self.status = 1
        unmade = ", ".join(check.name for check in CHECKS if check.act == self._act.name)
        reasons = [f"{type(error).__name__}: {error}" for error in leaves(group)]
        self.screen.cross(unmade, "could not be checked, the act came to no end", *reasons)

    def _show_log(self, log: Path) -> None:
        self.screen.says("")
        self.screen.says("the end of roostd's log:")
        if log.exists():
            self.screen.output(log.read_text(errors="replace"), last=LOG_LINES)


def leaves(group: BaseExceptionGroup[Exception]) -> Iterator[BaseException]:
    """The errors that a group is made of."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from leaves(error)
        else:
            yield error
