"""One run of the command: its options, its environment, where it speaks, and the daemon it speaks to."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property

from .. import __version__
from ..protocol.errors import DaemonUnreachable, RoostError
from . import paths
from .connection import CALL_SECONDS, Connection
from .status import OK, of_error
from .writer import Writer

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    from typing import Any

Record = dict[str, "Any"]
_AT_ONCE = 200
"""Requests that wait together; the daemon takes more, but not without end."""


class Invocation:
    """What a verb is given to run with.

    Args:
        args: the parsed options of the verb.
        environ: the process's environment.
    """

    def __init__(self, args: argparse.Namespace, environ: Mapping[str, str]) -> None:
        self.args = args
        self._environ = environ
        self.writer = Writer(quiet=args.quiet, json=args.json, colour=not environ.get("NO_COLOR"))
        self._daemon: Connection | None = None

    @cached_property
    def environ(self) -> dict[str, str]:
        """With what the options name.

        Raises:
            InvalidSettings: a path is relative to a working directory that is gone.
        """
        return paths.with_options(self._environ, state=self.args.state, socket=self.args.socket)

    @property
    def daemon(self) -> Connection:
        """The connection; the daemon is started at the first use if none runs, unless told not to."""
        if self._daemon is None:
            self._daemon = self._reach()
        return self._daemon

    def close(self) -> None:
        if self._daemon is not None:
            self._daemon.close()
            self._daemon = None

    def call(self, method: str, /, *, patience: float | None = CALL_SECONDS, **params: Any) -> Record:
        """Call ``method`` with those of ``params`` that are not None; wait ``patience`` seconds."""
        given = {name: value for name, value in params.items() if value is not None}
        return self.daemon.call(method, given, patience)

    def pages(self, method: str, part: str, **params: Any) -> Iterator[Record]:
        """The records of a list, whatever the number of its pages."""
        cursor: Any = None
        while True:
            page = self.call(method, cursor=cursor, **params)
            yield from page[part]
            cursor = page["next"]
            if cursor is None:
                return

    def each(
        self, names: list[str], method: str, timeout: float | None, done: Callable[[Record], None], **params: Any
    ) -> int:
        """Ask ``method`` of several sessions at once, show each answer, and give the first failure's exit status."""
        status = OK
        for begin in range(0, len(names), _AT_ONCE):
            some = names[begin : begin + _AT_ONCE]
            for msgid in [self.daemon.send(method, {"session": name, **params}) for name in some]:
                try:
                    done(self.daemon.result(msgid, method, timeout))
                except RoostError as exc:
                    self.writer.error(exc)
                    status = status or of_error(exc.wire_name, exc.code)
        return status

    def _reach(self) -> Connection:
        found, startable = paths.find(self.environ)
        try:
            daemon = Connection(found.socket)
        except DaemonUnreachable as exc:
            if "errno" not in exc.data:
                raise  # somebody listens there
            from .launch import reach

            start = startable and not self.args.no_start and not self.environ.get("ROOST_NO_START")
            daemon = reach(self.environ, start=start)
        if daemon.server_version != __version__:
            self.writer.warn(
                f"roost: the daemon is version {daemon.server_version}, this command {__version__}; "
                "run `roost daemon restart` when its turns may be interrupted"
            )
        return daemon


def now() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000
