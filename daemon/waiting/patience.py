"""Blocking calls into file systems that may never answer: each given up in time, and one at a time of those alike."""

import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Generic, TypeVar

import trio

T = TypeVar("T")
THREADS = 200
"""Calls that may hang at the same time, each at something else."""


class Patience:
    """A call into a file system that hangs keeps its key: no mount can use up all threads."""

    def __init__(self, threads: int = THREADS) -> None:
        self._threads = trio.CapacityLimiter(threads)
        self._gates: dict[Hashable, trio.Semaphore] = {}

    async def call(self, key: Hashable, fn: Callable[[], T], within: float) -> T:
        """The result of ``fn()``, which begins when no other call of this ``key`` is under way, abandoned ones too.

        Raises:
            trio.TooSlowError: not within that many seconds, the waiting for others included.
        """
        with trio.fail_after(within):
            await trio.lowlevel.checkpoint_if_cancelled()  # from here to the gate nothing comes between
            gate = self._gates.setdefault(key, trio.Semaphore(1))
            await gate.acquire()
            call = _Call(fn, lambda: self._ended(key, gate))
            try:
                return await trio.to_thread.run_sync(call.run, limiter=self._threads, abandon_on_cancel=True)
            except trio.Cancelled:
                call.withdraw()
                raise

    def _ended(self, key: Hashable, gate: trio.Semaphore) -> None:
        gate.release()
        if gate.value:  # nobody waited for it
            self._gates.pop(key, None)


class _Call(Generic[T]):
    """One call in a thread. ``ended``: is called in the Trio thread when it has ended, or will never begin."""

    def __init__(self, fn: Callable[[], T], ended: Callable[[], None]) -> None:
        self._fn = fn
        self._ended = ended
        self._token = trio.lowlevel.current_trio_token()
        self._lock = threading.Lock()
        self._begun = self._withdrawn = False

    def run(self) -> T:
        with self._lock:
            if self._withdrawn:
                raise RuntimeError("nobody waits for this any more")
            self._begun = True
        try:
            return self._fn()
        finally:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._ended)

    def withdraw(self) -> None:
        with self._lock:
            self._withdrawn = not self._begun
        if self._withdrawn:
            self._ended()
