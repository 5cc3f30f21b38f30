"""Turns and the queue: order, one at a time, holds and what lifts them, what can be changed until a turn starts."""

from pathlib import Path
from typing import Any

import pytest

from helpers.daemon import Daemon, running, wait_until
from helpers.engines import engines
from roost.protocol.errors import QueueFull, RoostError, TurnNotQueued

SETTINGS = engines("[sessions]\ncancel_grace = '500ms'\n[limits]\nqueue = 50\n")


@pytest.fixture(scope="module")
def settings() -> str:
    return SETTINGS


@pytest.fixture
def odd(shared: Daemon) -> Daemon:
    return shared


def busy(daemon: Daemon, **params: Any) -> tuple[str, str]:
    """A session and the turn that runs in it until it is cancelled."""
    session = daemon.create("odd", **params)
    turn = daemon.send(session, "wait")
    wait_until(lambda: daemon.session(session)["turn"] == turn, "it runs")
    return session, turn


def ran(daemon: Daemon, session: str) -> list[str]:
    return [event["turn"] for event in daemon.events(session) if event["kind"] == "turn.started"]


def queued(daemon: Daemon, session: str) -> list[str]:
    return [turn["id"] for turn in daemon.call("turn.list", session=session, state="queued")["turns"]]


def test_turns_run_one_at_a_time_in_order_of_arrival(odd: Daemon) -> None:
    """One in flight per session, the first queued first."""
    session, first = busy(odd, after={"cancelled": "continue"})
    rest = [odd.send(session, f"say {n}") for n in range(20)]
    assert odd.session(session)["queued"] == 20 and queued(odd, session) == rest
    odd.call("turn.cancel", turn=first)
    odd.wait(rest[-1])
    assert ran(odd, session) == [first, *rest]
    running = 0
    for event in odd.events(session):
        running += event["kind"] == "turn.started"
        running -= event["kind"] in ("turn.completed", "turn.cancelled")
        assert running in (0, 1)


def test_sessions_are_independent(odd: Daemon) -> None:
    """A session that hangs stops neither the poll nor another session."""
    busy(odd)
    other = odd.create("odd")
    for n in range(5):
        assert odd.run(other, f"say {n}")["state"] == "completed"


def test_a_start_drives_all_that_waited_at_once_and_a_completion_the_next() -> None:
    """What is queued when the daemon dies runs when it is back, in every session.

    Nothing waits for a poll, which is far away here.
    """
    with running(config=SETTINGS, ROOST_SESSIONS_POLL="1h") as odd:
        sessions = [busy(odd, after={"interrupted": "continue"})[0] for _ in range(8)]
        turns = [odd.send(session, "say after the crash") for session in sessions]
        odd.kill()
        odd.start()
        for turn in turns:
            assert odd.wait(turn)["state"] == "completed"
        turns = [odd.send(sessions[0], f"say {n}") for n in range(30)]
        assert odd.wait(turns[-1])["state"] == "completed"


@pytest.mark.parametrize(("prompt", "reason"), [("fail", "failed"), ("die", "failed"), ("wait", "cancelled")])
def test_what_is_behind_a_turn_that_did_not_complete_is_held(odd: Daemon, prompt: str, reason: str) -> None:
    session, first = busy(odd, after={"cancelled": "continue"})
    bad = odd.send(session, prompt)
    behind = [odd.send(session, "say behind"), odd.send(session, "say last")]
    odd.call("session.update", session=session, after={"cancelled": "hold"})
    odd.call("session.update", session=session, after={"failed": "hold", "cancelled": "continue"})
    odd.call("turn.cancel", turn=first)
    if prompt == "wait":
        wait_until(lambda: odd.session(session)["turn"] == bad, "it runs")
        odd.call("session.update", session=session, after={})
        odd.call("turn.cancel", turn=bad)
    odd.wait(bad)
    hold = odd.call("session.wait", session=session)["session"]["hold"]
    assert (hold["reason"], hold["turn"]) == (reason, bad)
    sent = odd.call("turn.send", session=session, input="say later")
    assert (sent["held"], sent["ahead"]) == (reason, 2), "turn.send says that it is held, and why"
    released = odd.call("session.release", session=session)
    assert released["released"] == 3 and released["session"]["hold"] is None
    for turn in [*behind, sent["turn"]["id"]]:
        assert odd.wait(turn)["state"] == "completed"
    kinds = [event["kind"] for event in odd.events(session)]
    assert kinds.count("session.held") == kinds.count("session.released") == 1


def test_a_turn_sent_to_a_session_with_nothing_queued_simply_runs(odd: Daemon) -> None:
    session = odd.create("odd")
    assert odd.run(session, "fail")["state"] == "failed"
    sent = odd.call("turn.send", session=session, input="say again")
    assert sent["held"] is None and odd.wait(sent["turn"]["id"])["state"] == "completed"


def test_after_retry_sends_it_again_at_most_three_times(odd: Daemon) -> None:
    session = odd.create("odd", after={"failed": "retry"})
    first = odd.send(session, "fail")
    behind = odd.send(session, "say behind")
    wait_until(lambda: odd.session(session)["hold"], "it is given up")
    turns = odd.call("turn.list", session=session)["turns"]
    tries = [turn for turn in turns if turn["input"] == "fail"]
    assert [turn["state"] for turn in tries] == ["failed"] * 3
    assert {turn["id"]: turn["retry_of"] for turn in tries}[first] is None
    assert sum(turn["retry_of"] is not None for turn in tries) == 2
    assert queued(odd, session) == [behind]


def test_after_continue_goes_on(odd: Daemon) -> None:
    session = odd.create("odd", after={"failed": "continue"})
    odd.send(session, "fail")
    assert odd.wait(odd.send(session, "say on"))["state"] == "completed"


def test_what_waits_can_be_edited_moved_and_removed(odd: Daemon) -> None:
    session, first = busy(odd, after={"cancelled": "continue"})
    a, b, c, d = (odd.send(session, f"say {name}") for name in "abcd")
    odd.call("turn.edit", turn=a, input="say edited")
    odd.call("turn.move", turn=d, before=a)
    odd.call("turn.move", turn=a, before=None)
    removed = odd.call("turn.remove", turn=b)["turn"]
    assert (removed["state"], removed["reason"]) == ("cancelled", "removed")
    assert queued(odd, session) == [d, c, a] and odd.session(session)["queued"] == 3
    for method, params in (("turn.edit", {"input": "x"}), ("turn.move", {"before": c}), ("turn.remove", {})):
        with pytest.raises(TurnNotQueued, match="running"):
            odd.call(method, turn=first, **params)
    odd.call("turn.cancel", turn=first)
    odd.wait(a)
    assert ran(odd, session) == [first, d, c, a] and odd.output(a) == "edited"
    kinds = [event["kind"] for event in odd.events(session)]
    assert kinds.count("turn.edited") == 1 and kinds.count("turn.moved") == 2


def test_a_hold_is_lifted_when_nothing_is_left_to_hold(odd: Daemon) -> None:
    session = odd.create("odd")
    odd.send(session, "wait")
    turn = odd.session(session)["turn"] or wait_until(lambda: odd.session(session)["turn"], "it runs")
    behind = odd.send(session, "say behind")
    odd.call("turn.cancel", turn=turn)
    assert odd.call("session.wait", session=session)["session"]["hold"]["reason"] == "cancelled"
    odd.call("turn.remove", turn=behind)
    assert odd.session(session)["hold"] is None


def test_cancel_is_idempotent_and_keeps_the_first_reason(odd: Daemon) -> None:
    """Queued at once, running when it has ended, ended not at all; asking twice is asking once."""
    session, running = busy(odd)
    waiting = odd.send(session, "say never")
    assert odd.call("turn.cancel", turn=waiting)["outcome"] == "cancelled"
    assert odd.call("turn.cancel", turn=waiting)["outcome"] == "ended"
    asked = odd.call("turn.cancel", turn=running, reason="policy")
    odd.call("turn.cancel", turn=running, reason="user")
    ended = odd.wait(running)
    assert asked["outcome"] == "requested"
    assert (ended["state"], ended["reason"]) == ("cancelled", "policy")
    assert ended["cancelled_by"]["uid"] >= 0 and ended["cancelled_by"]["client"] == "test"
    kinds = [event["kind"] for event in odd.events(session) if event["turn"] == running]
    assert kinds.count("turn.cancel_requested") == kinds.count("turn.cancelled") == 1


def test_a_child_that_ignores_the_cancel_is_ended(odd: Daemon) -> None:
    """What never yields is stopped all the same."""
    session = odd.create("odd")
    turn = odd.send(session, "deaf")
    wait_until(lambda: odd.session(session)["turn"] == turn, "it runs")
    odd.call("turn.cancel", turn=turn)
    assert odd.wait(turn)["state"] == "cancelled"
    assert odd.run(session, "say anew")["state"] == "completed"


def test_a_full_queue_is_said(odd: Daemon) -> None:
    session, _ = busy(odd)
    for n in range(50):
        odd.send(session, f"say {n}")
    with pytest.raises(QueueFull, match="50"):
        odd.send(session, "say one too many")
    assert odd.session(session)["queued"] == 50


def test_the_number_of_running_turns_is_bounded_and_fair(odd: Daemon) -> None:
    with odd.reloaded(engines("[limits]\nmax_running_turns = 2\n")):
        sessions = [odd.create("odd") for _ in range(6)]
        turns = [odd.send(session, f"say {n}") for n in range(5) for session in sessions]
        for turn in turns:
            assert odd.wait(turn)["state"] == "completed"
        running = 0
        for event in odd.events():
            if event["session"] not in sessions:
                continue
            running += event["kind"] == "turn.started"
            running -= event["kind"] == "turn.completed"
            assert running <= 2
        with odd.connect() as connection:
            asked = [
                connection.send("turn.send", {"session": sessions[n % 2], "input": "say many"}) for n in range(100)
            ]
            asked.append(connection.send("turn.send", {"session": sessions[2], "input": "say one"}))
            sent = [connection.result(msgid)["turn"]["id"] for msgid in asked]
        for turn in sent[-3:]:
            odd.wait(turn)
        events = [event for event in odd.events() if event["turn"] in sent]
        kinds = [(event["kind"], event["turn"]) for event in events]
        waited = events[kinds.index(("turn.queued", sent[-1])) : kinds.index(("turn.started", sent[-1]))]
        before = sum(event["kind"] == "turn.started" for event in waited)
        assert before <= 10, f"{before} turns of long queues went before it"


def test_wait_ends_when_nothing_can_run(odd: Daemon) -> None:
    session, turn = busy(odd)
    odd.send(session, "say held")
    with pytest.raises(RoostError) as caught:
        odd.call("session.wait", session=session, timeout=200)
    assert caught.value.wire_name == "timed_out"
    odd.call("turn.cancel", turn=turn)
    assert odd.call("session.wait", session=session)["session"]["queued"] == 1


def test_a_working_directory_that_is_gone_fails_the_turn_and_holds_the_queue(odd: Daemon) -> None:
    """Run in the workspace instead, the command would empty that."""
    session = odd.create("shell")
    workspace = Path(odd.session(session)["workspace"])
    odd.run(session, "touch precious; mkdir -p build; cd build; rmdir ../build; sleep 0.2")
    first = odd.send(session, "rm -rf ./*")
    second = odd.send(session, "cd ..")
    failed = odd.wait(first)
    assert (failed["state"], failed["problem"]["name"]) == ("failed", "turn_failed")
    assert f"{workspace}/build cannot be entered" in failed["problem"]["message"]
    assert (workspace / "precious").exists()
    odd.call("session.release", session=session)
    assert odd.wait(second)["state"] == "completed"
    assert odd.run(session, "ls precious")["state"] == "completed"
