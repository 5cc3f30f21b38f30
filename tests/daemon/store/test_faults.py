"""A disk that fails for real: system calls of a child are made to fail, files may not grow, the child is killed."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from helpers import writing
from helpers.children import WAITS, python
from helpers.ledger import Ledger, data, emitting
from helpers.tracer import TRACEABLE
from roost.daemon.store import reads, recovery
from roost.protocol.errors import StorageFailed
from roost.protocol.model import TurnState

# A test run of a checkout that is not installed finds the package by its path alone.
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _can_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    with subprocess.Popen(python(TRACEABLE + WAITS), stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline()
        with subprocess.Popen(strace(child.pid, os.devnull), stderr=subprocess.PIPE, text=True) as tracer:
            attached = has_attached(tracer)
            child.kill()
    return attached


def strace(pid: int, log: Path | str, *trace: str) -> list[str]:
    return ["strace", "-f", "-o", str(log), *trace, "-p", str(pid)]


def has_attached(tracer: subprocess.Popen[str]) -> bool:
    """Once it says so; not if it ends before that. Of a path with a link in it strace says first what it is."""
    assert tracer.stderr is not None
    return any("attached" in line for line in tracer.stderr)


traced = pytest.mark.skipif(not _can_trace(), reason="needs strace, and leave to trace")


class Outcome(NamedTuple):
    """What became of one operation, and the last offset that had been delivered then."""

    name: str
    offset: int


class Mother:
    """A process that forks one child at a time; see helpers/writing.py."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.status = 0
        """Exit status of the last child that ended."""

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the mother has ended"
        return line.rstrip("\n")

    def bear(self, path: Path, mode: str, count: int = 0) -> int:
        """The pid of a child that waits for :meth:`begin`."""
        self.say(f"{path}\t{mode}\t{count}")
        said, _, pid = self.line().partition(" ")
        assert said == "pid"
        return int(pid)

    def begin(self) -> Iterator[str]:
        """What the child says until its end."""
        self.say("")
        while not (line := self.line()).startswith("exit "):
            yield line
        self.status = int(line.split()[1])


@pytest.fixture(scope="module")
def mother() -> Iterator[Mother]:
    with subprocess.Popen(
        [sys.executable, writing.__file__], env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Mother(process)
        finally:
            process.kill()


@pytest.fixture
def path(path: Path) -> Path:
    """A database that is there: opening it writes nothing."""
    Ledger(path).close()
    return path


def traced_lines(
    mother: Mother, path: Path, mode: str, count: int, *trace: str, log: Path | str = os.devnull
) -> list[str]:
    """Let a child write under strace: what it said."""
    pid = mother.bear(path, mode, count)
    with subprocess.Popen(strace(pid, log, *trace), stderr=subprocess.PIPE, text=True) as tracer:
        try:
            assert has_attached(tracer)
            said = [*mother.begin()]
        except BaseException:
            os.kill(pid, signal.SIGKILL)  # or the tracer would not end
            raise
        assert mother.status == 0, said
    return said


def run(mother: Mother, path: Path, mode: str, count: int, *trace: str) -> list[Outcome]:
    words = [line.split() for line in traced_lines(mother, path, mode, count, *trace) if line.startswith("end")]
    return [Outcome(name, int(offset)) for _, _, name, offset in words]


def sync_fails(when: str) -> list[str]:
    """The first commit in a fresh WAL waits for the disk three times, each later one once."""
    return ["-e", "trace=fdatasync,fsync", "-e", f"inject=fdatasync,fsync:error=EIO:when={when}"]


def messages(path: Path) -> list[str]:
    """What the daemon's own events say, numbered without a gap."""
    with closing(Ledger(path, used=True)) as ledger:
        ledger.check()
        events = ledger.events("")
        assert [event.seq for event in events] == [event.offset for event in events] == list(range(1, len(events) + 1))
        return [data(event)["message"] for event in events]


def names(outcomes: list[Outcome]) -> list[str]:
    return [outcome.name for outcome in outcomes]


@traced
def test_the_disk_has_it_before_the_answer_is_given(mother: Mother, path: Path, tmp_path: Path) -> None:
    """Each operation's commit waits for fdatasync between its being handed in and its return."""
    log = tmp_path / "trace"
    traced_lines(mother, path, "single", 5, "-e", "trace=fdatasync,fsync,write", log=log)
    seen = ""
    for line in log.read_text().splitlines():
        if "sync" in line and line.endswith("= 0"):
            seen += "s"
        elif 'write(1, "begin' in line:
            seen += "b"
        elif 'write(1, "end' in line:
            seen += "e"
    assert seen.count("b") == seen.count("e") == 5
    for between in seen.split("b")[1:]:
        assert "s" in between.partition("e")[0], seen


@traced
def test_a_commit_that_fails_leaves_nothing_and_the_next_one_is_well(mother: Mother, path: Path) -> None:
    outcomes = run(mother, path, "single", 5, *sync_fails("5"))
    assert names(outcomes) == ["ok", "ok", "storage_failed", "ok", "ok"]
    assert messages(path) == ["0", "1", "3", "4"]


@traced
def test_a_commit_that_failed_is_not_brought_back_by_a_crash(mother: Mother, path: Path) -> None:
    """All of it stands in the WAL, which is read again then."""
    assert names(run(mother, path, "crash", 3, *sync_fails("5"))) == ["ok", "ok", "storage_failed"]
    assert messages(path) == ["0", "1"]


@traced
def test_the_first_commit_of_all_fails(mother: Mother, path: Path) -> None:
    assert names(run(mother, path, "single", 3, *sync_fails("1"))) == ["storage_failed", "ok", "ok"]
    assert messages(path) == ["1", "2"]


@traced
def test_an_outcome_that_cannot_be_known_is_not_guessed(mother: Mother, path: Path) -> None:
    """The commit failed, and so did looking what became of it."""
    outcomes = run(mother, path, "single", 5, *sync_fails("5..6"))
    assert names(outcomes) == ["ok", "ok", "outcome_unknown", "ok", "ok"]
    assert messages(path) == ["0", "1", "3", "4"]


@traced
def test_what_failed_and_is_there_all_the_same_is_answered_so(mother: Mother, path: Path) -> None:
    """Nobody else had the database open: its recovery finds the whole commit in the WAL."""
    outcomes = run(mother, path, "last", 5, *sync_fails("5..6"))
    assert outcomes == [Outcome("ok", number) for number in range(1, 6)]
    assert messages(path) == ["0", "1", "2", "3", "4"]


@traced
def test_what_could_not_be_known_is_delivered_when_it_is_found(mother: Mother, path: Path) -> None:
    """Else memory would lack a commit that the database has."""
    outcomes = run(mother, path, "last", 5, *sync_fails("5..7"))
    assert outcomes == [
        Outcome("ok", 1),
        Outcome("ok", 2),
        Outcome("outcome_unknown", 2),
        Outcome("ok", 4),
        Outcome("ok", 5),
    ]
    assert messages(path) == ["0", "1", "2", "3", "4"]


@traced
def test_a_disk_that_stays_broken_is_answered_each_time(mother: Mother, path: Path) -> None:
    outcomes = run(mother, path, "single", 5, *sync_fails("5+"))
    assert names(outcomes) == ["ok", "ok", "outcome_unknown", "storage_failed", "storage_failed"]
    assert messages(path)[:2] == ["0", "1"]


@traced
def test_a_full_disk_at_the_commit(mother: Mother, path: Path) -> None:
    """Writing to the WAL finds no room; what is written later finds some again."""
    wal = path.with_name("roost.db-wal")
    trace = ["-P", str(wal), "-e", "trace=pwrite64", "-e", "inject=pwrite64:error=ENOSPC:when=12"]
    outcomes = run(mother, path, "single", 6, *trace)
    assert sorted(set(names(outcomes))) == ["ok", "storage_failed"]
    assert messages(path) == [str(number) for number, outcome in enumerate(outcomes) if outcome.name == "ok"]


@contextmanager
def no_file_over(size: int) -> Generator[None]:
    """Nothing this process writes may be longer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_only_the_one_that_the_file_cannot_hold_fails(path: Path) -> None:
    """An I/O error at the commit of a group: it is looked into, and each runs again alone."""
    with closing(Ledger(path, used=True)) as ledger:
        ledger.do(emitting("", "first"))
        size = path.with_name("roost.db-wal").stat().st_size
        with no_file_over(size + 200_000):
            jobs = ledger.group(emitting("", "small"), emitting("", "x" * 900_000), emitting("", "small too"))
        assert [type(job.error) for job in jobs] == [type(None), StorageFailed, type(None)]
        ledger.do(emitting("", "x" * 900_000))
    assert [message[:9] for message in messages(path)] == ["first", "small", "small too", "x" * 9]


def kill_after(mother: Mother, path: Path, lines: int) -> dict[str, list[str]]:
    """Let a child write, kill it when it has said so many lines; the prompts it acknowledged, by session."""
    acknowledged: dict[str, list[str]] = {}
    pid = mother.bear(path, "many")
    for count, line in enumerate(mother.begin()):
        session, number, prompt = line.split(" ", 2)
        said = acknowledged.setdefault(session, [])
        said.append(prompt)
        assert int(number) == len(said)
        if count == lines:
            os.kill(pid, signal.SIGKILL)  # and read on: what was said before it died was acknowledged
    assert mother.status == -signal.SIGKILL
    return acknowledged


def test_what_was_acknowledged_is_there_after_kill_9(mother: Mother, path: Path) -> None:
    """At random moments in the middle of commits: nothing of it is lost, nothing is half there, no number is reused."""
    everything: dict[str, list[str]] = {}
    for _ in range(12):
        everything |= kill_after(mother, path, random.randrange(400))
        with closing(Ledger(path, used=True)) as ledger:
            ledger.check()
            assert ledger.read(recovery.unfinished) == []
            for session, prompts in everything.items():
                queued, _ = ledger.read(reads.turns, session, TurnState.queued, limit=100_000)
                assert [turn.input for turn in queued][: len(prompts)] == prompts
            page, offset, _ = ledger.read(reads.events, None, 0, 10**9, max_bytes=10**9)
            assert [event.offset for event in page] == list(range(1, len(page) + 1))
            assert offset <= ledger.writer.offset
