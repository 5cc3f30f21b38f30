"""Operations on sessions, each with the events it writes."""

import pytest

from helpers.ledger import Ledger, creating, data
from roost.daemon.core.states import SessionEvent
from roost.daemon.store import reads, sessions
from roost.protocol.errors import (
    IllegalTransition,
    KeyConflict,
    NameTaken,
    SessionBusy,
    SessionNotFound,
)
from roost.protocol.model import DAEMON, After, AfterEnd, ClientAuthor, Problem, Session, SessionState, TurnState


def test_a_new_session_is_idle_and_its_first_event_says_all_of_it(ledger: Ledger) -> None:
    made = ledger.create("first", author=ClientAuthor(pid=1, uid=2, client="test"))
    (event,) = ledger.events(made)
    assert (event.kind, event.seq) == ("session.created", 1)
    assert Session.model_validate(data(event)["session"]) == made == ledger.session("first")
    assert (made.state, made.seq, made.queued, made.turns) == (SessionState.idle, 1, 0, 0)


def test_its_environment_is_kept_apart(ledger: Ledger) -> None:
    made = ledger.create(env={"LANG": "C.UTF-8", "ODD": "a\nb=ü"})
    assert ledger.read(sessions.env, made.id) == {"LANG": "C.UTF-8", "ODD": "a\nb=ü"}
    assert ledger.do(sessions.env, made.id)["LANG"] == "C.UTF-8"
    assert "C.UTF-8" not in repr(ledger.events(made))
    with pytest.raises(SessionNotFound):
        ledger.read(sessions.env, "s-none")


def test_a_name_is_taken_until_its_session_is_archived(ledger: Ledger) -> None:
    first = ledger.create("build")
    with pytest.raises(NameTaken, match=first.id):
        ledger.create("build")
    other = ledger.create("other")
    with pytest.raises(NameTaken):
        ledger.do(sessions.update, other.id, name="build")
    ledger.do(sessions.archive, first.id)
    ledger.do(sessions.update, other.id, name="build")
    with pytest.raises(NameTaken, match=other.id):
        ledger.do(sessions.unarchive, first.id)
    ledger.do(sessions.update, first.id, name="any")  # an archived one may be called anything


def test_an_id_is_no_other_sessions_name(ledger: Ledger) -> None:
    first, other = ledger.create(), ledger.create("other")
    with pytest.raises(NameTaken, match=first.id):
        ledger.create(first.id)
    with pytest.raises(NameTaken, match=first.id):
        ledger.do(sessions.update, other.id, name=first.id)


def test_two_in_one_group_cannot_have_one_name(ledger: Ledger) -> None:
    first, second = ledger.group(creating("same"), creating("same"))
    assert first.error is None and isinstance(second.error, NameTaken)


def test_a_key_makes_one_session(ledger: Ledger) -> None:
    """The same key again returns the first result; with other content it is a conflict."""
    first = ledger.create("a", key="k", author=ClientAuthor(pid=1, uid=1))
    again = ledger.create("a", key="k", author=ClientAuthor(pid=2, uid=1))
    assert again == first and len(ledger.read(reads.all_sessions)) == 1
    with pytest.raises(KeyConflict, match="'k'"):
        ledger.create("b", key="k")


def test_a_key_returns_the_session_as_it_is_now(ledger: Ledger) -> None:
    first = ledger.create("a", key="k")
    ledger.do(sessions.update, first.id, name="b")
    assert ledger.create("a", key="k").name == "b"


def test_a_key_whose_session_was_deleted_makes_another(ledger: Ledger) -> None:
    first = ledger.create("a", key="k")
    ledger.do(sessions.delete, first.id, force=False)
    second = ledger.create("a", key="k")
    assert second.id != first.id and ledger.create("a", key="k").id == second.id


def test_update_changes_what_is_given_and_says_it(ledger: Ledger) -> None:
    made = ledger.create("a")
    after = After(failed=AfterEnd.proceed)
    changed = ledger.do(sessions.update, made.id, name="b", after=after)
    assert (changed.name, changed.after) == ("b", after)
    event = ledger.events(made)[-1]
    assert event.kind == "session.updated"
    assert data(event)["changed"] == {"name": "b", "after": after.to_wire()}
    assert ledger.do(sessions.update, made.id, name="b", after=after).seq == changed.seq, "no change"


def test_change_takes_one_step_and_keeps_the_pid(ledger: Ledger) -> None:
    made = ledger.create()
    starting = ledger.do(sessions.change, made.id, SessionEvent.start, reason="turn", pid=77)
    assert (starting.state, starting.pid) == (SessionState.starting, 77)
    assert data(ledger.events(made)[-1]) == {"old": "idle", "new": "starting", "reason": "turn", "pid": 77}
    problem = Problem(name="worker_exited", message="it exited with 3", data={"exit_code": 3})
    gone = ledger.do(sessions.change, made.id, SessionEvent.gone, reason="exited", problem=problem)
    assert (gone.state, gone.pid, gone.failure) == (SessionState.idle, None, problem)
    assert data(ledger.events(made)[-1])["problem"] == problem.to_wire()
    assert ledger.make_ready(made).failure is None, "it is well again"


def test_an_illegal_step_changes_nothing(ledger: Ledger) -> None:
    made = ledger.create()
    with pytest.raises(IllegalTransition, match="idle cannot finish"):
        ledger.do(sessions.change, made.id, SessionEvent.finish, reason="no")
    assert ledger.session(made) == made


def test_a_step_that_leads_nowhere_is_no_event(ledger: Ledger) -> None:
    session, turn = ledger.running()
    ledger.do(sessions.change, session.id, SessionEvent.stop, reason="user")
    ledger.end(turn)
    assert ledger.session(session).state is SessionState.stopping
    assert ledger.kinds(session)[-1] == "turn.completed"


def test_giving_up_and_being_armed_again(ledger: Ledger) -> None:
    made = ledger.create()
    problem = Problem(name="worker_exited", message="five times in a minute")
    failed = ledger.do(sessions.change, made.id, SessionEvent.give_up, reason="limit", problem=problem)
    assert (failed.state, failed.failure) == (SessionState.failed, problem)
    armed = ledger.do(sessions.change, made.id, SessionEvent.rearm, reason="user")
    assert (armed.state, armed.failure) == (SessionState.idle, problem)


def test_only_a_session_at_rest_is_archived(ledger: Ledger) -> None:
    session, turn = ledger.running("one", "two")
    with pytest.raises(SessionBusy, match="busy with 1 queued"):
        ledger.do(sessions.archive, session.id)
    ledger.end(turn)
    with pytest.raises(SessionBusy, match="ready with 1 queued"):
        ledger.do(sessions.archive, session.id)
    idle = ledger.create()
    assert ledger.do(sessions.archive, idle.id).archived
    again = ledger.do(sessions.archive, idle.id)
    back = ledger.do(sessions.unarchive, idle.id)
    assert not ledger.do(sessions.unarchive, idle.id).archived
    assert (again.seq, back.seq) == (2, 3)
    assert ledger.kinds(idle) == ["session.created", "session.archived", "session.unarchived"]


def test_release_says_how_many_go_on(ledger: Ledger) -> None:
    session, turn = ledger.running("one", "two", "three")
    ledger.end(turn, TurnState.failed)
    released, count = ledger.do(sessions.release, session.id)
    assert (released.hold, count) == (None, 2)
    assert data(ledger.events(session)[-1]) == {"reason": "user", "queued": 2, "author": DAEMON.to_wire()}
    assert ledger.do(sessions.release, session.id) == (released, 0)


def test_a_deleted_session_leaves_its_last_event_and_nothing_else(ledger: Ledger) -> None:
    session, turn = ledger.running("one", "two", name="doomed", key="k")
    ledger.item(turn, "x" * 300_000)
    with pytest.raises(SessionBusy, match="runs"):
        ledger.do(sessions.delete, session.id, force=True)
    ledger.end(turn, engine_state=b"state")
    with pytest.raises(SessionBusy, match="1 turns are queued"):
        ledger.do(sessions.delete, session.id, force=False)
    last = ledger.session(session).seq
    ledger.do(sessions.delete, session.id, force=True)

    for table in ("sessions", "environments", "turns", "items", "chunks", "checkpoints"):
        assert ledger.conn.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
    gap, final = ledger.events(session)
    assert (gap.kind, data(gap)) == ("events.pruned", {"from_seq": 1, "to_seq": last})
    assert (final.kind, final.seq) == ("session.deleted", last + 1)
    assert data(final) == {"name": "doomed", "author": DAEMON.to_wire()}
    assert ledger.events(session, last) == [final]
    assert ledger.events(None) == [gap, final]
    assert ledger.commits[-1].sessions == {session.id: None}
    with pytest.raises(SessionNotFound):
        ledger.session(session)


def test_of_deleted_sessions_only_so_many_are_remembered(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_DELETED", 3)
    made = [ledger.create() for _ in range(5)]
    for session in made:
        ledger.do(sessions.delete, session.id, force=False)
    assert {event.session for event in ledger.events(None)} == {session.id for session in made[2:]}
    with pytest.raises(SessionNotFound):
        ledger.events(made[0])


def test_told_forgets_the_turn_that_was_cut_off(ledger: Ledger) -> None:
    session, turn = ledger.running()
    ledger.end(turn, TurnState.interrupted, reason="daemon_shutdown")
    assert ledger.session(session).interrupted == turn.id
    assert ledger.do(sessions.told, session.id).interrupted is None
    assert ledger.session(session).interrupted is None


@pytest.mark.parametrize("operation", [sessions.update, sessions.archive, sessions.release, sessions.told])
def test_an_unknown_session_is_named(ledger: Ledger, operation: object) -> None:
    assert callable(operation)
    with pytest.raises(SessionNotFound, match="'s-none'"):
        ledger.do(operation, "s-none")
