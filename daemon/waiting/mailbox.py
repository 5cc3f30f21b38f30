"""A job that another task does, and its outcome: a task that waits may leave, the job goes on. A mailbox holds them."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import trio

from ...protocol.errors import InternalError, RoostError, TimedOut
from .errands import Errands, Starter

log = logging.getLogger(__name__)

ROOM = 100
"""Letters in a mailbox; the task that brings one more waits."""

ANSWER = 40.0
"""Seconds within which what is asked for is done: longer than a child is given to answer."""

T = TypeVar("T")


class Letter(Generic[T]):
    """One job and its outcome."""

    def __init__(self, job: Callable[[], Awaitable[T]]) -> None:
        self.job = job
        self._done = trio.Event()
        self._result: T
        self._error: RoostError | None = None

    @property
    def settled(self) -> bool:
        """It has an outcome."""
        return self._done.is_set()

    async def outcome(self) -> T:
        """Wait for the result, or the error."""
        await self._done.wait()
        if self._error is not None:
            raise self._error
        return self._result

    async def open(self) -> None:
        """Do the job. Errors are its outcome, never this caller's; cut off in the middle, it has none yet."""
        try:
            self._result = await self.job()
        except RoostError as exc:
            self.refuse(exc)
        except Exception as exc:
            log.exception("a bug in a job")
            self.refuse(InternalError(f"a bug in roostd: {exc!r}; please report it with the log"))
        else:
            self._done.set()

    def refuse(self, error: RoostError) -> None:
        """It is not done. What has an outcome keeps it."""
        if not self.settled:
            self._error = error
            self._done.set()


class Mailbox:
    """Jobs for one task, done one after another in the order in which they came.

    Args:
        of: whose it is, for errors. closed: why nothing is done any more.
    """

    def __init__(self, of: str, closed: Callable[[], RoostError]) -> None:
        self._of = of
        self._closed = closed
        self._opened: Letter[Any] | None = None
        self._letters = Errands(self._open, ROOM)

    async def ask(self, job: Callable[[], Awaitable[T]], within: float = float("inf")) -> T:
        """Have ``job`` done after what was asked before. Leaving ends only the waiting.

        Raises:
            RoostError: what ``closed`` says; TimedOut: not ``within`` so many seconds. What has not begun
                by then is not done.
        """
        letter = Letter(job)
        try:
            with trio.fail_after(within):
                return await self._outcome(letter)
        except trio.TooSlowError:
            late = self._late(within, begun=letter is self._opened)
            letter.refuse(late)
            raise late from None

    async def ask_first(self, job: Callable[[], Awaitable[T]]) -> T:
        """Have ``job`` done before all that waits, however long it takes. Leaving ends only the waiting.

        Raises:
            RoostError: what ``closed`` says.
        """
        letter = Letter(job)
        try:
            self._letters.put_first(letter)
        except trio.BrokenResourceError:
            raise self._closed() from None
        return await letter.outcome()

    async def _outcome(self, letter: Letter[T]) -> T:
        try:
            await self._letters.put(letter)
        except trio.BrokenResourceError:
            raise self._closed() from None
        return await letter.outcome()

    def _late(self, within: float, *, begun: bool) -> TimedOut:
        then = "may still be done" if begun else "was not begun and will not be"
        text = f"{self._of} did not answer within {within:g} s, and what was asked {then}"
        return TimedOut(f"{text}; ask again, or `roost stop --force` it if its child hangs")

    def begin(self, start: Starter) -> None:
        """Do what is asked, in tasks that ``start`` starts."""
        self._letters.begin(start)

    def finish(self) -> None:
        """Nothing more is begun; what is under way is done to its end."""
        self._letters.finish()

    async def _open(self, letter: Letter[Any]) -> None:
        if not letter.settled:
            self._opened = letter
            await letter.open()
            self._opened = None

    def close(self) -> None:
        """Whoever still waits is told."""
        if self._opened is not None:
            self._opened.refuse(self._closed())
        for letter in self._letters.close():
            letter.refuse(self._closed())
