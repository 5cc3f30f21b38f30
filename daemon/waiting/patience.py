"""Blocking calls into file systems that may never answer: each given up in time, and one at a time of those alike."""

import threading
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, Generic, TypeVar

import trio

T = TypeVar("T")
THREADS = 200
"""Calls that may hang at the same time, each at something else."""


class Patience:
    """Who asks for what hangs already waits for that, without a thread of its own: no mount can use up all threads.

    Those who wait share the call after it: five hundred sessions in one workspace need one look at it.
    """

    def __init__(self, threads: int = THREADS) -> None:
        self._threads = trio.CapacityLimiter(threads)
        self._gates: dict[Hashable, _Gate] = {}

    async def call(self, key: Hashable, fn: Callable[[], T], within: float) -> T:
        """What ``fn()``, or another one with this ``key``, gives that begins after this was asked.

        It begins when no other one is under way, also of those that were given up.

        Raises:
            trio.TooSlowError: not within that many seconds, the waiting for others included.
        """
        await trio.lowlevel.checkpoint_if_cancelled()  # from here to the gate nothing comes between
        gate = self._gates.setdefault(key, _Gate())
        answer: _Answer[T] = gate.following
        with trio.fail_after(within):
            await gate.semaphore.acquire()
            if answer.there:
                self._ended(key, gate)
                return answer.given()
            gate.following = _Answer()
            call = _Call(fn, answer, lambda: self._ended(key, gate))
            try:
                return await trio.to_thread.run_sync(call.run, limiter=self._threads, abandon_on_cancel=True)
            except trio.Cancelled:
                call.withdraw()
                raise

    def _ended(self, key: Hashable, gate: "_Gate") -> None:
        gate.semaphore.release()
        if gate.semaphore.value:  # nobody waited for it
            self._gates.pop(key, None)


class _Answer(Generic[T]):
    """What a call gave: to the one who made it, and to those who wait for the same."""

    def __init__(self) -> None:
        self.there = False
        self._value: list[T] = []
        self._error: Exception | None = None

    def take(self, fn: Callable[[], T]) -> None:
        try:
            self._value.append(fn())
        except Exception as error:
            self._error = error
        self.there = True

    def given(self) -> T:
        if self._error is not None:
            raise self._error
        return self._value[0]


class _Gate:
    """What lets one call in at a time. ``following``: the answer of the next one."""

    def __init__(self) -> None:
        self.semaphore = trio.Semaphore(1)
        self.following: _Answer[Any] = _Answer()


class _Call(Generic[T]):
    """One call in a thread. ``ended``: is called in the Trio thread when it has ended, or will never begin."""

    def __init__(self, fn: Callable[[], T], answer: _Answer[T], ended: Callable[[], None]) -> None:
        self._fn = fn
        self._answer = answer
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
            self._answer.take(self._fn)
            return self._answer.given()
        finally:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._ended)

    def withdraw(self) -> None:
        with self._lock:
            self._withdrawn = not self._begun
        if self._withdrawn:
            self._ended()
