"""The store as the daemon's loop sees it: hand operations in, be told of commits in order, read on the side."""

import logging
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import trio

from ...protocol.errors import DatabaseDamaged, OutcomeUnknown, RoostError, ShuttingDown, StorageFailed, StorageGone
from ..waiting.awaited import Change, Once
from .database import ours, prepare
from .readers import Readers
from .tx import Commit, Tx
from .writer import Job, Writer

log = logging.getLogger(__name__)

T = TypeVar("T")
GROUP = 1000
"""Operations of one commit, at most."""
WRITING = 30.0
"""Seconds that the disk has to take a write; then nobody waits for it any longer, and it may still be done."""
TELLING = 1.0
"""Seconds that a read waits for the news of a commit it has seen; while a commit is in doubt none may come."""
END_SECONDS = 5.0
"""How long the end waits for the writer's thread; one that is stuck in a disk must not hold the daemon."""


class _Work:
    """The work of the writer's thread, and how far it is.

    Attributes:
        jobs: None ends it. closed: nothing more is taken. given_up: its end is not waited for again.
    """

    def __init__(self) -> None:
        self.jobs: SimpleQueue[Job | None] = SimpleQueue()
        self.closed = False
        self.thread: Thread | None = None
        self.given_up = False
        self.ended = Once()


class Store:
    """All that lasts. One thread writes, with group commit; reads have connections and threads of their own.

    Attributes:
        problem: the last write failure, until a write works again, or the damage that a read or a write has met:
        that does not go by itself. stuck: why each write that is tried again has failed. gone: which file was
        unlinked or replaced under us.
        offset: the last one committed and delivered. on_commit: called in the Trio thread, in commit order, once an
        operation, before its ``write`` returns.
    """

    def __init__(self, path: Path, writer: Writer, readers: Readers) -> None:
        self.path = path
        self.problem: RoostError | None = None
        self.gone: str | None = None
        self.stuck: dict[object, RoostError] = {}
        self.offset = writer.offset
        self.on_commit: list[Callable[[Commit], None]] = []
        self._counts = Counter(reads=0, storage_failures=0, unheard_failures=0, listener_failures=0)
        self._writer = writer
        self._readers = readers
        self._work = _Work()
        self._told = writer.marker
        """The number of the last commit that was delivered."""
        self._news = Change()

    @classmethod
    def open(cls, path: Path, *, used: bool) -> "Store":
        """Open the database at ``path``, made anew only if ``used`` says that this directory never had one. Blocking.

        Raises:
            DatabaseMissing, DatabaseDamaged, DatabaseNewer, DatabaseRefused, StorageFailed
        """
        reader, conn = prepare(path, used=used)
        try:
            return cls(path, Writer(path, conn), Readers(path, reader))
        except sqlite3.Error as exc:
            reader.close()
            conn.close()
            raise ours(exc, path) from exc

    @property
    def counters(self) -> dict[str, int]:
        """What it has done since it was opened."""
        return {**self._writer.counts, **self._counts, "waiting": self._work.jobs.qsize()}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write what is handed in, until ``close``."""
        token = trio.lowlevel.current_trio_token()
        self._work.thread = Thread(target=self._serve, args=(token,), name="roost-store", daemon=True)
        self._work.thread.start()
        task_status.started()
        try:
            await self._work.ended.wait()
        finally:
            if not self._work.ended.is_set():
                self._end()
                with trio.move_on_after(END_SECONDS, shield=True) as waiting:
                    await self._work.ended.wait()
                self._work.given_up = waiting.cancelled_caught

    async def write(self, operation: Callable[[Tx], T]) -> T:
        """The operation's result, once its commit is durable and delivered. To be cancelled ends only the waiting.

        Raises:
            RoostError: the operation's own; StorageFailed, StorageGone, OutcomeUnknown, InternalError, ShuttingDown.
        """
        done = Once()
        job = self._hand_in(operation, lambda _: done.set())
        with trio.move_on_after(WRITING):
            await done.wait()
        if not done.is_set():
            raise self._hanging()
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    def _hanging(self) -> OutcomeUnknown:
        text = f"{self.path} did not take this within {WRITING:g} s; look at the disk. It may still be done:"
        self.problem = OutcomeUnknown(f"{text} ask again with the same key", path=str(self.path))
        return self.problem

    def write_nowait(self, operation: Callable[[Tx], Any]) -> None:
        """Hand in an operation that nobody waits for; its failure is logged and counted.

        Raises:
            StorageGone, ShuttingDown
        """
        self._hand_in(operation, self._note)

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What ``query`` answers, in one short read transaction. It must not hand out rows still to be fetched.

        What it has seen is in memory too, when it returns: who reads here and asks there is never told less.

        Raises:
            RoostError: the query's own; StorageFailed, DatabaseDamaged, ShuttingDown.
        """
        self._counts["reads"] += 1
        try:
            found, marker = await self._readers.run(lambda conn: (query(conn), _marker(conn)))
        except DatabaseDamaged as exc:
            self.problem = exc
            raise
        with trio.move_on_after(TELLING):
            while marker > self._told:
                await self._news.wait()
        return found

    def close(self) -> None:
        """End, once all that was handed in is committed. Blocking; only the first call does anything.

        A thread that ``run`` has waited for in vain is not waited for again.
        """
        self._end()
        if self._work.thread is None:
            self._writer.link.close()
        elif not self._work.given_up:
            self._work.thread.join(END_SECONDS)

    def _end(self) -> None:
        if not self._work.closed:
            self._work.closed = True
            self._readers.close()
            self._work.jobs.put(None)

    def lose(self, file: str) -> StorageGone:
        """``file`` was unlinked or replaced: nothing more is written, and what is still in the WAL is folded in."""
        self.gone = file
        problem = self.problem = StorageGone(f"{file} is gone or was replaced; restart roostd", path=file)
        self._work.jobs.put(Job(lambda _: None, self._note))
        return problem

    def _hand_in(self, operation: Callable[[Tx], Any], done: Callable[[Job], None]) -> Job:
        if self.gone is not None:
            raise StorageGone(
                f"{self.gone} was removed or replaced; stop the daemon and start it again", path=self.gone
            )
        if self._work.closed:
            raise ShuttingDown("the store is closed; start the daemon again")
        job = Job(operation, done)
        self._work.jobs.put(job)
        return job

    def _note(self, job: Job) -> None:
        if job.error is not None:
            self._counts["unheard_failures"] += 1
            log.warning("a write that nobody waits for failed: %s", job.error.message)

    def _serve(self, token: trio.lowlevel.TrioToken) -> None:
        """The writer's thread."""
        try:
            while jobs := self._next_group():
                self._deliver_soon(token, self._writer.run(jobs))
                if self.gone is None:
                    self._writer.link.rest()
                else:
                    self._writer.link.fold()
        finally:
            self._writer.link.close()
            self._soon(token, self._work.ended.set)

    def _next_group(self) -> list[Job]:
        """What arrived while the last group was committed; empty at the end."""
        job = self._work.jobs.get()
        jobs: list[Job] = []
        while job is not None:
            jobs.append(job)
            if len(jobs) == GROUP:
                return jobs
            try:
                job = self._work.jobs.get_nowait()
            except Empty:
                return jobs
        if jobs:
            self._work.jobs.put(None)  # the end comes after this group
        return jobs

    def _deliver_soon(self, token: trio.lowlevel.TrioToken, jobs: list[Job]) -> None:
        marker = self._writer.marker
        self._soon(token, lambda: self._deliver(jobs, marker))

    @staticmethod
    def _soon(token: trio.lowlevel.TrioToken, fn: Callable[[], None]) -> None:
        try:
            token.run_sync_soon(fn)
        except trio.RunFinishedError:
            log.warning("the daemon's loop ended before the store's last commits were delivered")

    def _deliver(self, jobs: list[Job], marker: int) -> None:
        """In the Trio thread: tell of each commit, then whoever waits for it."""
        for job in jobs:
            if job.commit is not None:
                self._tell(job.commit)
            if isinstance(job.error, StorageFailed | OutcomeUnknown | DatabaseDamaged):
                self.problem = job.error
                self._counts["storage_failures"] += 1
            elif job.commit is not None and self.gone is None and not isinstance(self.problem, DatabaseDamaged):
                self.problem = None
            job.done(job)
        self._told = marker
        self._news.tell()

    def _tell(self, commit: Commit) -> None:
        if commit.events:
            self.offset = commit.events[-1].offset
        for listener in self.on_commit:
            try:
                listener(commit)
            except Exception:
                self._counts["listener_failures"] += 1
                log.exception("a listener failed on a commit")


def _marker(conn: sqlite3.Connection) -> int:
    """The number of the last commit that ``conn`` sees."""
    return int(conn.execute("SELECT marker FROM meta").fetchone()[0])
