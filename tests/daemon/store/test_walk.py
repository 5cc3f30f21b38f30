"""Random walks over the operations, beside a model so simple that it is plainly right."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from helpers.ledger import Ledger, emitting, sending
from roost.daemon.core.states import SessionEvent
from roost.daemon.store import reads, recovery, retention, sessions, turns
from roost.protocol.errors import QueueFull, RoostError, SessionBusy, TurnNotQueued
from roost.protocol.model import DAEMON, After, AfterEnd, EngineKind, Problem, SessionState, TurnState

LIMIT = 4
ENDS = st.sampled_from([TurnState.completed, TurnState.failed, TurnState.cancelled, TurnState.interrupted])
PICK = st.integers(0, 99)


class Expected:
    """What a session should be: its queue in order, what runs, whether it is held, how many turns there were."""

    def __init__(self, policy: AfterEnd) -> None:
        self.policy = policy
        self.queue: list[str] = []
        self.running: str | None = None
        self.held = False
        self.sent = 0
        self.attempts: dict[str, int] = {}
        self.unwanted: set[str] = set()
        """Those that a user has cancelled."""

    def left(self) -> None:
        self.held = self.held and bool(self.queue)

    def ended(self, turn: str, state: TurnState, again: str | None) -> None:
        """``again`` is the head of the queue now: a retry, if there should be one."""
        if state is TurnState.completed or self.policy is AfterEnd.proceed:
            return
        if self.policy is AfterEnd.retry and turn not in self.unwanted and self.attempts[turn] < 3:
            assert again is not None and again not in self.attempts
            self.queue.insert(0, again)
            self.attempts[again] = self.attempts[turn] + 1
            self.sent += 1
        else:
            self.held = bool(self.queue)


class Walk(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.ledger = Ledger(self.folder / "roost.db")
        self.expected: dict[str, Expected] = {}
        self.offset = 0

    def teardown(self) -> None:
        self.ledger.close()
        Ledger(self.folder / "roost.db", used=True).close()  # all that a start looks at is there
        shutil.rmtree(self.folder)

    def _session(self, pick: int) -> str:
        return list(self.expected)[pick % len(self.expected)]

    def _head(self, session: str) -> str | None:
        turn = self.ledger.do(turns.first_queued, session)
        return turn.id if turn else None

    def _has_sessions(self) -> bool:
        return bool(self.expected)

    @precondition(lambda self: len(self.expected) < 2)
    @rule(policy=st.sampled_from(AfterEnd), kind=st.sampled_from(EngineKind))
    def create(self, policy: AfterEnd, kind: EngineKind) -> None:
        after = After(failed=policy, interrupted=policy, cancelled=policy)
        session = self.ledger.create(kind=kind, after=after)
        self.expected[session.id] = Expected(policy)

    @precondition(_has_sessions)
    @rule(pick=PICK)
    def send(self, pick: int) -> None:
        session = self._session(pick)
        expected = self.expected[session]
        try:
            turn, held, ahead = self.ledger.do(sending(session, limit=LIMIT))
        except QueueFull:
            assert len(expected.queue) >= LIMIT
            return
        assert (held is not None, ahead) == (expected.held, len(expected.queue) + (expected.running is not None))
        expected.queue.append(turn.id)
        expected.attempts[turn.id] = 1
        expected.sent += 1
        assert turn.number == expected.sent

    @precondition(_has_sessions)
    @rule(pick=PICK)
    def claim(self, pick: int) -> None:
        session = self._session(pick)
        expected = self.expected[session]
        record = self.ledger.session(session)
        if record.kind is EngineKind.worker and record.state is SessionState.idle:
            self.ledger.make_ready(session)
        turn = self.ledger.do(turns.claim, session)
        if expected.running or expected.held or not expected.queue:
            assert turn is None
            return
        assert turn is not None and turn.id == expected.queue.pop(0)
        expected.running = turn.id
        self.ledger.item(turn, "half")

    @precondition(_has_sessions)
    @rule(pick=PICK, state=ENDS, alive=st.booleans())
    def end(self, pick: int, state: TurnState, alive: bool) -> None:
        session = self._session(pick)
        expected = self.expected[session]
        turn, expected.running = expected.running, None
        if turn is None:
            return
        self.ledger.do(turns.end, turn, state=state, alive=alive)
        if not alive and self.ledger.session(session).kind is EngineKind.worker:
            self.ledger.do(sessions.change, session, SessionEvent.gone, reason="exited")
        expected.ended(turn, state, self._head(session))

    @precondition(_has_sessions)
    @rule(pick=PICK, which=PICK)
    def fail_to_start(self, pick: int, which: int) -> None:
        session = self._session(pick)
        expected = self.expected[session]
        if not expected.queue or expected.held:
            return
        turn = expected.queue.pop(which % len(expected.queue))
        self.ledger.do(turns.fail_queued, turn, Problem(name="engine_failed", message="no"))
        expected.ended(turn, TurnState.failed, self._head(session))

    @precondition(_has_sessions)
    @rule(pick=PICK, which=PICK, before=st.none() | PICK)
    def move(self, pick: int, which: int, before: int | None) -> None:
        session = self._session(pick)
        queue = self.expected[session].queue
        if not queue:
            return
        turn = queue[which % len(queue)]
        target = None if before is None else queue[before % len(queue)]
        self.ledger.do(turns.move, turn, target)
        if target != turn:
            queue.remove(turn)
            queue.insert(len(queue) if target is None else queue.index(target), turn)

    @precondition(_has_sessions)
    @rule(pick=PICK, which=PICK, cancel=st.booleans())
    def withdraw(self, pick: int, which: int, cancel: bool) -> None:
        session = self._session(pick)
        expected = self.expected[session]
        everything = [*expected.queue, *filter(None, [expected.running])]
        if not everything:
            return
        turn = everything[which % len(everything)]
        if cancel:
            outcome = self.ledger.do(turns.request_cancel, turn, reason="user", author=DAEMON)[1]
            assert outcome == ("cancelled" if turn in expected.queue else "requested")
            expected.unwanted.add(turn)
        else:
            try:
                self.ledger.do(turns.remove, turn)
            except TurnNotQueued:
                assert turn == expected.running
        if turn in expected.queue:
            expected.queue.remove(turn)
            expected.left()

    @precondition(_has_sessions)
    @rule(pick=PICK)
    def release(self, pick: int) -> None:
        session = self._session(pick)
        expected = self.expected[session]
        _, count = self.ledger.do(sessions.release, session)
        assert count == (len(expected.queue) if expected.held else 0)
        expected.held = False

    @precondition(_has_sessions)
    @rule(pick=PICK, force=st.booleans())
    def delete(self, pick: int, force: bool) -> None:
        session = self._session(pick)
        expected = self.expected[session]
        try:
            self.ledger.do(sessions.delete, session, force=force)
        except SessionBusy:
            assert expected.running or (expected.queue and not force)
        else:
            assert not expected.running and (force or not expected.queue)
            del self.expected[session]

    @precondition(_has_sessions)
    @rule(pick=PICK, failures=st.lists(st.booleans(), min_size=1, max_size=8))
    def group(self, pick: int, failures: list[bool]) -> None:
        """Some of a group fail; the others count."""
        session = self._session(pick)
        before = self.ledger.session(session).seq

        def failing(tx: object) -> None:
            emitting(session)(tx)  # type: ignore[arg-type]
            raise QueueFull("no")

        jobs = self.ledger.group(*[failing if fails else emitting(session) for fails in failures])
        assert [job.error is not None for job in jobs] == failures
        assert self.ledger.session(session).seq == before + failures.count(False)

    @precondition(_has_sessions)
    @rule(pick=PICK, keep=st.integers(0, 20))
    def prune(self, pick: int, keep: int) -> None:
        self.ledger.do(retention.prune, self._session(pick), keep=keep, older_than_ms=None)

    @precondition(lambda self: self.offset > 0)
    @rule(looked_at=st.sampled_from([False, False, False, True]))
    def crash(self, looked_at: bool) -> None:
        """The daemon is gone; a new one opens the database, now and then with all its looks, and settles it."""
        if looked_at:
            self.ledger.close()
            self.ledger = Ledger(self.folder / "roost.db", used=True)
        else:
            self.ledger.crash()
        for session in self.ledger.read(recovery.unfinished):
            interrupted = self.ledger.do(recovery.recover, session)
            expected = self.expected[session]
            running, expected.running = expected.running, None
            assert interrupted == [*filter(None, [running])]
            if running:
                expected.ended(running, TurnState.interrupted, self._head(session))

    @invariant()
    def everything_is_as_expected(self) -> None:
        self.ledger.check()
        found = {session.id: session for session in self.ledger.read(reads.all_sessions)}
        assert found.keys() == self.expected.keys()
        for id, expected in self.expected.items():
            session = found[id]
            queue, _ = self.ledger.read(reads.turns, id, TurnState.queued)
            assert [turn.id for turn in queue] == expected.queue
            assert (session.turn, session.queued, session.turns) == (
                expected.running,
                len(expected.queue),
                expected.sent,
            )
            assert (session.hold is not None) == expected.held

    @invariant()
    def commits_say_what_changed(self) -> None:
        """Memory that hears of every commit knows what the database holds."""
        for commit in self.ledger.commits:
            for event in commit.events:
                self.offset += 1
                assert event.offset == self.offset, "an offset was given out twice, or left out"
            for turn in commit.turns:
                last = self.ledger.commits[-1] is commit
                assert not last or self._stored(turn.id) in (turn, None)
        if self.ledger.commits:
            for id, session in self.ledger.commits[-1].sessions.items():
                assert session is None or session == self.ledger.session(id)
        self.ledger.commits.clear()

    def _stored(self, turn: str) -> object:
        try:
            return self.ledger.read(reads.turn, turn)
        except RoostError:
            return None


TestWalk = Walk.TestCase
TestWalk.settings = settings(
    max_examples=50, stateful_step_count=80, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
