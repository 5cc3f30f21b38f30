"""Waits for whoever speaks first: the daemon, Ctrl-C, or the keyboard."""

import codecs
import os
import select
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NamedTuple, Self

from .connection import Connection

_READ_BYTES = 65_536


class Happened(NamedTuple):
    """An event of the subscription."""

    event: dict[str, Any]


class Ended(NamedTuple):
    """The subscription's last message."""

    reason: str
    message: str
    after: int


class Typed(NamedTuple):
    """A line from the keyboard, or a pipe in its place."""

    line: str


class KeyboardClosed(NamedTuple):
    """Ctrl-D, or the end of a pipe."""


class Interrupted(NamedTuple):
    """The first Ctrl-C. The second one is a KeyboardInterrupt, wherever the command is."""


Happening = Happened | Ended | Typed | KeyboardClosed | Interrupted


class Follower:
    """Gives what happens on a connection with a subscription, in order.

    Args:
        before_wait: called whenever there is nothing more to show for now.
        keyboard: a descriptor to read line by line. A terminal is read only while the command is in its foreground:
            else what is typed there is for somebody else.
    """

    def __init__(self, connection: Connection, before_wait: Callable[[], None], *, keyboard: int | None = None) -> None:
        self._connection = connection
        self._before_wait = before_wait
        self._keyboard = keyboard
        self._typed = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._heard = 0  # Ctrl-C since the last forget()
        self._told = 0

    def __enter__(self) -> Self:
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        os.set_blocking(self._woken, False)
        self._old_handler = signal.signal(signal.SIGINT, self._interrupt)
        self._old_resumer = signal.signal(signal.SIGCONT, self._resume)
        self._old_waker = signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._old_waker)
        signal.signal(signal.SIGCONT, self._old_resumer)
        signal.signal(signal.SIGINT, self._old_handler)
        os.close(self._woken)
        os.close(self._waker)

    def forget_interrupt(self) -> None:
        """The next Ctrl-C counts as the first again."""
        self._heard = self._told = 0

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        self._heard += 1
        if self._heard > 1:
            raise KeyboardInterrupt

    def _resume(self, signum: int, frame: FrameType | None) -> None:
        """It has woken the wait, and that is all: the command may be in the foreground now."""

    def __iter__(self) -> Iterator[Happening]:
        while True:
            yield from self._arrived()
            self._before_wait()
            ready = self._wait()
            if self._woken in ready:
                self._drain()
            if self._keyboard in ready and self._in_foreground():
                yield from self._type()
            if self._connection.fileno() in ready:
                self._connection.receive(0)  # what was typed made a call, and that may have read it already

    def _arrived(self) -> Iterator[Happening]:
        while True:
            if self._heard > self._told:
                self._told = self._heard
                yield Interrupted()
            if (notification := self._connection.take()) is None:
                return
            said = notification.params
            if notification.method == "event":
                yield Happened(said)
            elif notification.method == "events.end":
                yield Ended(said["reason"], said.get("message", ""), said["after"])

    def _wait(self) -> set[int]:
        poll = select.poll()
        for descriptor in (self._connection.fileno(), self._woken):
            poll.register(descriptor, select.POLLIN)
        if self._keyboard is not None and self._in_foreground():
            poll.register(self._keyboard, select.POLLIN)
        return {descriptor for descriptor, _event in poll.poll()}

    def _in_foreground(self) -> bool:
        assert self._keyboard is not None
        try:
            return os.tcgetpgrp(self._keyboard) == os.getpgrp()
        except OSError:
            return True  # it is a pipe, or a terminal without jobs

    def _drain(self) -> None:
        try:
            os.read(self._woken, _READ_BYTES)
        except BlockingIOError:
            pass

    def _type(self) -> Iterator[Happening]:
        assert self._keyboard is not None
        try:
            data = os.read(self._keyboard, _READ_BYTES)
        except OSError:
            data = b""  # stdin is closed, or the terminal is gone
        *lines, self._typed = (self._typed + self._decoder.decode(data, final=not data)).split("\n")
        if not data:
            lines, self._typed, self._keyboard = [*lines, self._typed], "", None
        yield from (Typed(line) for line in lines if line.strip())
        if not data:
            yield KeyboardClosed()
