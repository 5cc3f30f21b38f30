"""The store without a loop, for tests of operations: each ``do`` is one group commit on a real database."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from roost.daemon.core.said import Append, Start
from roost.daemon.core.states import SessionEvent
from roost.daemon.store import Commit, Stored, Tx, items, reads, sessions, turns
from roost.daemon.store.database import connect, prepare
from roost.daemon.store.writer import Job, Writer
from roost.protocol.events import TURN_PROGRESSED, TurnProgressed
from roost.protocol.model import DAEMON, After, EngineKind, ItemKind, Session, Turn, TurnState, new_id
from roost.protocol.rpc import unpack

P = ParamSpec("P")
T = TypeVar("T")
Operation = Callable[[Tx], Any]


class Ledger:
    """A database and its writer, on the test's own thread."""

    def __init__(self, path: Path, *, used: bool = False) -> None:
        self.path = path
        self.reader, self.conn = prepare(path, used=used)
        self.writer = Writer(path, self.conn)
        self.commits: list[Commit] = []

    def close(self) -> None:
        self.reader.close()
        self.writer.link.close()

    def crash(self) -> None:
        """Open the database anew, without what a start looks at first: no operation changes that."""
        self.close()
        self.reader, self.conn = connect(self.path, "ro"), connect(self.path, "rw")
        self.reader.execute("SELECT count(*) FROM meta").fetchone()  # as prepare does
        self.writer = Writer(self.path, self.conn)

    def group(self, *operations: Operation) -> list[Job]:
        """Run these in one group commit."""
        jobs = [Job(operation, lambda job: None) for operation in operations]
        self.commits += [job.commit for job in self.writer.run(jobs) if job.commit]
        return jobs

    def do(self, operation: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The operation's result, or its error."""
        (job,) = self.group(lambda tx: operation(tx, *args, **kwargs))
        if job.error:
            raise job.error
        result: T = job.result
        return result

    def read(self, query: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What the query answers on the read-only connection."""
        return query(self.reader, *args, **kwargs)

    # --- what many tests begin with ---

    def create(self, name: str | None = None, kind: EngineKind = EngineKind.worker, **fields: Any) -> Session:
        return self.do(creating(name, kind, **fields))

    def send(self, session: Session | str, text: str = "make it so", **fields: Any) -> Turn:
        turn, _, _ = self.do(sending(id_of(session), text, **fields))
        return turn

    def make_ready(self, session: Session | str) -> Session:
        """Give the session a child that has answered."""
        id = id_of(session)
        self.do(sessions.change, id, SessionEvent.start, reason="wanted", pid=4321)
        return self.do(sessions.change, id, SessionEvent.ready, reason="ready")

    def claim(self, session: Session | str) -> Turn:
        turn = self.do(turns.claim, id_of(session))
        assert turn is not None
        return turn

    def running(self, *texts: str, **fields: Any) -> tuple[Session, Turn]:
        """A session of which the first of these prompts runs and the others are queued."""
        session = self.create(**fields)
        for text in texts or ("make it so",):
            self.send(session, text)
        if session.kind is EngineKind.worker:
            self.make_ready(session)
        return session, self.claim(session)

    def end(self, turn: Turn, state: TurnState = TurnState.completed, **fields: Any) -> Turn:
        fields.setdefault("alive", True)
        return self.do(turns.end, turn.id, state=state, **fields)

    def item(self, turn: Turn, text: str = "") -> str:
        """An item in progress with this content."""
        id = new_id("i")
        self.do(items.record, turn.id, [Start(id, ItemKind.agent_message, "", {}), Append(id, text)])
        return id

    # --- what is there now ---

    def session(self, session: Session | str) -> Session:
        return reads.session(self.reader, id_of(session))

    def turn(self, turn: Turn) -> Turn:
        return reads.turn(self.reader, turn.id)

    def queue(self, session: Session | str) -> list[str]:
        """The prompts that wait, in the order they will run."""
        found, _ = reads.turns(self.reader, id_of(session), TurnState.queued, limit=1000)
        return [turn.input for turn in found]

    def events(self, session: Session | str | None, after: int = 0, **fields: Any) -> list[Stored]:
        ref = session if session is None else id_of(session)
        all_there_are: dict[str, Any] = {"limit": 5000, "max_bytes": 10**9, **fields}
        page, _, _ = reads.events(self.reader, ref, after, **all_there_are)
        return page

    def kinds(self, session: Session | str | None, after: int = 0) -> list[str]:
        return [event.kind for event in self.events(session, after)]

    def check(self) -> None:
        """What must always hold."""
        for problem in problems(self.reader):
            raise AssertionError(problem)


def id_of(session: Session | str) -> str:
    return session if isinstance(session, str) else session.id


def creating(name: str | None = None, kind: EngineKind = EngineKind.worker, **fields: Any) -> Callable[[Tx], Session]:
    """An operation that makes a session."""
    wanted: dict[str, Any] = {"engine": "shell", "workspace": "/srv", "env": {}, "after": After(), "key": None}
    wanted |= {"author": DAEMON, **fields}
    return lambda tx: sessions.create(tx, name=name, kind=kind, **wanted)


def sending(session: str, text: str = "make it so", **fields: Any) -> Callable[[Tx], tuple[Turn, str | None, int]]:
    """An operation that queues a prompt."""
    wanted: dict[str, Any] = {"timeout": None, "idle_timeout": None, "retry_of": None, "key": None, "author": DAEMON}
    wanted |= {"limit": 100, **fields}
    return lambda tx: turns.send(tx, session, input=text, **wanted)


def emitting(session: str, message: str = "so far") -> Operation:
    """An operation that only adds an event."""
    return lambda tx: tx.emit(session, TURN_PROGRESSED, TurnProgressed(message=message))


def data(event: Stored) -> dict[str, Any]:
    found: dict[str, Any] = unpack(event.packed)["data"]
    return found


def problems(conn: sqlite3.Connection) -> Iterator[str]:
    """Rows that contradict each other."""
    yield from (f"foreign key: {row}" for row in conn.execute("PRAGMA foreign_key_check"))
    checks = {
        "the session's count of queued turns is wrong": """
            SELECT id FROM sessions WHERE queued != (
                SELECT count(*) FROM turns WHERE session = sessions.id AND state = 'queued')""",
        "the session's turn is not the one that runs": """
            SELECT id FROM sessions WHERE turn IS NOT (
                SELECT id FROM turns WHERE session = sessions.id AND state IN ('running', 'waiting'))""",
        "more than one turn runs": """
            SELECT session FROM turns WHERE state IN ('running', 'waiting') GROUP BY session HAVING count(*) > 1""",
        "an item outlived its turn": """
            SELECT items.id FROM items JOIN turns ON turns.id = items.turn
            WHERE items.state = 'in_progress' AND turns.state NOT IN ('running', 'waiting')""",
        "events are not numbered without a gap": """
            SELECT session FROM events GROUP BY session
            HAVING max(seq) - min(seq) + 1 != count(*)
                OR min(seq) != 1 + coalesce((SELECT to_seq FROM gaps WHERE gaps.session = events.session), 0)""",
        "the session's seq is not its last event's": """
            SELECT id FROM sessions WHERE seq != (SELECT max(seq) FROM events WHERE session = sessions.id)""",
        "an offset is greater than the counter": """
            SELECT 1 FROM events, meta WHERE events.offset > meta.last_offset""",
        "an empty queue is on hold": "SELECT id FROM sessions WHERE hold IS NOT NULL AND queued = 0",
    }
    for text, sql in checks.items():
        yield from (f"{text}: {row[0]}" for row in conn.execute(sql))
