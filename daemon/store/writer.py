"""The writer's side of the store, all on one thread: operations in groups, one commit a group.

Rule 1: a job that failed leaves nothing, and its numbers are given out again. Rule 2: a job fails for its own reasons
only: when a group is rolled back as a whole, each of its jobs runs again alone. A group that cannot even begin fails,
for each of its jobs would wait as long. Rule 3: after a failed COMMIT nothing is believed until the database was opened
anew and the number of its last commit read.
"""

import logging
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...protocol.errors import InternalError, OutcomeUnknown, RoostError, StorageFailed
from ...protocol.model import Session
from .database import ours, primary_code
from .link import Link, roll_back
from .tx import Commit, Counters, Tx

log = logging.getLogger(__name__)

KNOWN_SESSIONS = 1024
"""Session records kept at hand, so that an operation need not read what the one before wrote."""


class Job:
    """One operation that was handed in, and what became of it. ``done`` is called on the thread that delivers."""

    def __init__(self, operation: Callable[[Tx], Any], done: Callable[["Job"], None]) -> None:
        self.operation = operation
        self.done = done
        self.result: Any = None
        self.error: RoostError | None = None
        self.commit: Commit | None = None

    def fail(self, error: RoostError) -> None:
        self.result, self.commit, self.error = None, None, error


class _Undone(Exception):
    """Nothing of the group is in the database. ``begun``: one of its jobs may be to blame."""

    def __init__(self, error: RoostError, *, begun: bool = True) -> None:
        self.error = error
        self.begun = begun


class _Doubt:
    """A group whose COMMIT failed: it may be in the database or not."""

    def __init__(self, jobs: list[Job], marker: int, error: RoostError) -> None:
        self.commits = [job.commit for job in jobs if job.commit]
        self.marker = marker
        self.error = error


class Writer:
    """Runs jobs; what became of each stands in it afterwards."""

    def __init__(self, path: Path, conn: sqlite3.Connection) -> None:
        self.path = path
        self.counts = Counter(commits=0, operations=0, events=0, rollbacks=0)
        self.link = Link(path, conn)
        self._counters = self.link.stored()
        self._known: dict[str, Session] = {}
        self._doubt: _Doubt | None = None
        self._marker = self._counters.marker
        """Of the last commit that was begun."""
        self._concluded: list[Job] = []

    @property
    def offset(self) -> int:
        """The last one given out."""
        return self._counters.offset

    @property
    def marker(self) -> int:
        """The number of the last commit that is known to be there."""
        return self._counters.marker

    def run(self, jobs: list[Job]) -> list[Job]:
        """Commit ``jobs``. Returns them with their outcome, and what else is to be delivered, in commit order."""
        self._concluded = []
        try:
            self._group(jobs)
        except Exception as exc:
            self._stumbled(jobs, exc)
        self.counts["operations"] += len(jobs)
        return self._concluded

    def _stumbled(self, jobs: list[Job], exc: Exception) -> None:
        """The writer itself made a mistake: nobody may wait for ever, and nothing is believed until looked at."""
        log.error("the store's writer failed by a mistake in it", exc_info=exc)
        left = [job for job in jobs if job not in self._concluded]
        self.link.drop()
        error = InternalError(f"the daemon made a mistake: {exc!r}")
        # What is in doubt already stays so: these are part of it, or were not begun.
        self._doubt = self._doubt or _Doubt(left, self._marker, error)
        self._leave_open(left, error)
        self._concluded += left

    def _group(self, jobs: list[Job]) -> None:
        try:
            conn = self._opened()
            start = self._counters.copy()
            self._marker = start.marker + 1
            self._fill(conn, jobs, start)
            self._commit(conn, jobs, start)
        except _Undone as undone:
            self.counts["rollbacks"] += 1
            for job in jobs:
                job.fail(undone.error)  # until it has run again
            if undone.begun and len(jobs) > 1:
                for job in jobs:
                    self._group([job])
                return
        self._concluded += jobs

    def _fill(self, conn: sqlite3.Connection, jobs: list[Job], start: Counters) -> None:
        """Everything of a group up to its COMMIT."""
        try:
            conn.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as exc:
            roll_back(conn)
            raise _Undone(ours(exc, self.path), begun=False) from exc
        try:
            before = conn.total_changes
            for job in jobs:
                self._operate(conn, job)
            if conn.total_changes > before:  # else COMMIT has nothing to write, and does not wait for the disk
                self._number(conn)
        except (sqlite3.Error, _Undone) as exc:
            roll_back(conn)
            self._restart(start)
            raise exc if isinstance(exc, _Undone) else _Undone(ours(exc, self.path)) from exc

    def _number(self, conn: sqlite3.Connection) -> None:
        """Store the counters, and with them the number by which this commit is known again."""
        counters = self._counters
        counters.marker += 1
        values = (counters.offset, counters.daemon_seq, counters.marker)
        conn.execute("UPDATE meta SET last_offset = ?, daemon_seq = ?, marker = ?", values)

    def _operate(self, conn: sqlite3.Connection, job: Job) -> None:
        """Run one operation in its savepoint.

        Raises:
            _Undone: it took the whole transaction with it.
        """
        start = self._counters.copy()
        job.result, job.commit, job.error = None, None, None
        conn.execute("SAVEPOINT operation")
        tx = Tx(conn, time.time_ns() // 1_000_000, self._counters, self._known)
        try:
            job.result = job.operation(tx)
            if conn.in_transaction:
                job.commit = tx.finish()
        except BaseException as exc:  # whatever it is, it must not end the thread that others wait for
            job.fail(self._blame(exc))
            self._counters = start
        # SQLite may end the whole transaction by itself; what is written after that would be written for good
        if not conn.in_transaction:
            raise _Undone(job.error or StorageFailed(f"{self.path} could not be written", path=str(self.path)))
        if job.commit is None:
            conn.execute("ROLLBACK TO operation")
        else:
            self._remember(job.commit)
        conn.execute("RELEASE operation")

    def _blame(self, exc: BaseException) -> RoostError:
        """An operation's error in our words; a mistake of ours goes to the log with its traceback."""
        if isinstance(exc, RoostError):
            return exc
        error = ours(exc, self.path) if isinstance(exc, sqlite3.Error) else None
        if error is None or isinstance(error, InternalError):
            log.error("an operation of the store failed by a mistake in it", exc_info=exc)
        return error or InternalError(f"the daemon made a mistake: {exc!r}; its log has the traceback")

    def _remember(self, commit: Commit) -> None:
        if len(self._known) > KNOWN_SESSIONS:
            self._known.clear()
        for id, session in commit.sessions.items():
            if session is None:
                self._known.pop(id, None)
            else:
                self._known[id] = session

    def _restart(self, counters: Counters) -> None:
        """The group was rolled back: what it counted and remembered is not so."""
        self._counters = counters
        self._known.clear()

    def _commit(self, conn: sqlite3.Connection, jobs: list[Job], start: Counters) -> None:
        try:
            conn.execute("COMMIT")
        except sqlite3.Error as exc:
            error = ours(exc, self.path)
            roll_back(conn)
            if primary_code(exc) == sqlite3.SQLITE_FULL:  # no room for all of the WAL's frames: it cannot be there
                self._restart(start)
                raise _Undone(error) from exc
            self.link.drop()
            self._doubt = _Doubt(jobs, self._counters.marker, error)
            self._look(jobs)
        else:
            self._count([job.commit for job in jobs if job.commit])

    def _look(self, jobs: list[Job]) -> None:
        """What became of jobs whose COMMIT failed.

        Raises:
            _Undone: they are not in the database, and never will be.
        """
        assert self._doubt is not None
        error = self._doubt.error
        try:
            there = self._settle(self._doubt)
        except RoostError:
            self._leave_open(jobs, error)
        else:
            if not there:
                raise _Undone(error)

    def _leave_open(self, jobs: list[Job], error: RoostError) -> None:
        text = f"{error.message}. Whether this was done cannot be known now: ask again with the same key"
        for job in jobs:
            if job.error is None:
                job.fail(OutcomeUnknown(text, path=str(self.path)))

    def _settle(self, doubt: _Doubt) -> bool:
        """Open the database anew: whether what was in doubt is there, and durable.

        Raises:
            StorageFailed, DatabaseDamaged: that cannot be known yet.
        """
        self._restart(self.link.reopen())
        self._doubt = None
        there = doubt.marker == self._counters.marker
        if there:
            self._count(doubt.commits)
        return there

    def _opened(self) -> sqlite3.Connection:
        """The connection. After a failure it is opened again, and what was in doubt delivered if it is there."""
        if self._doubt is not None:
            doubt = self._doubt
            try:
                there = self._settle(doubt)
            except RoostError as error:
                raise _Undone(error, begun=False) from error
            if there:
                self._concluded += [_late(commit) for commit in doubt.commits]
        assert self.link.conn is not None
        return self.link.conn

    def _count(self, commits: list[Commit]) -> None:
        self.counts["commits"] += 1
        self.counts["events"] += sum(len(commit.events) for commit in commits)


def _late(commit: Commit) -> Job:
    """A job that was answered already, with what is to be delivered of it."""
    job = Job(lambda tx: None, lambda job: None)
    job.commit = commit
    return job
