"""Waiting inside Trio for a condition, without keeping a core busy that what is waited for may need."""

from collections.abc import Callable

import trio

DEADLINE = 20.0
"""Seconds within which anything that a test waits for happens, on a loaded machine too."""
PAUSE = 0.005
"""Seconds between two looks at what happens outside of the loop."""


class _Steps(trio.abc.Instrument):
    """Wakes its task when another one has run: whatever that has changed is seen before it changes again."""

    def __init__(self) -> None:
        self.waiting = trio.lowlevel.ParkingLot()
        self._task = trio.lowlevel.current_task()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is not self._task:
            self.waiting.unpark_all()


async def wait_until(condition: Callable[[], object]) -> None:
    """Until ``condition`` holds; looked at each time that others have run, and now and then."""
    steps = _Steps()
    trio.lowlevel.add_instrument(steps)
    try:
        with trio.fail_after(DEADLINE):
            while not condition():
                with trio.move_on_after(PAUSE):
                    await steps.waiting.park()
    finally:
        trio.lowlevel.remove_instrument(steps)
