"""``roost attach``: history, then live, prompts typed or piped, and leaving without ending anything."""

import json

import pytest

from helpers.cli import Roost


def used(roost: Roost, name: str, engine: str) -> str:
    """A session with two turns behind it."""
    roost.daemon.create(engine, name=name)
    for word in ("first", "second"):
        roost.daemon.run(name, f"echo {word}")
    return name


@pytest.fixture
def session(roost: Roost, request: pytest.FixtureRequest) -> str:
    return used(roost, str(request.node.name)[-60:], "sh")


def test_lines_from_a_pipe_are_prompts_and_it_ends_with_them(roost: Roost) -> None:
    session = used(roost, "piped", "shell")
    done = roost("attach", session, stdin="echo a\n\nexport B=b\necho $B")
    words = [line for line in done.out.splitlines() if not line.startswith(("t-", ">"))]
    assert (done.status, words) == (0, ["first", "second", "a", "b"])
    assert done.out.splitlines()[0] == "> echo first"


def test_its_status_is_that_of_the_last_turn(roost: Roost, session: str) -> None:
    assert roost("attach", session, stdin="exit 3").status == 1


def test_without_input_it_shows_the_history_and_leaves(roost: Roost, session: str) -> None:
    done = roost("attach", session, "-n", "1")
    assert done.status == 0
    assert done.out.splitlines()[:2] == ["> echo second", "second"]
    assert roost("attach", session, "-n", "0").out == ""


def test_json_is_an_event_a_line(roost: Roost, session: str) -> None:
    done = roost("attach", session, "--json", stdin="echo x\n")
    events = [json.loads(line) for line in done.out.splitlines()]
    assert events[-1]["kind"] == "turn.completed"
    seqs = [event["seq"] for event in events]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))


def test_a_person_types_prompts_and_leaves_with_ctrl_d(roost: Roost) -> None:
    session = used(roost, "typed-into", "shell")
    with roost.started("attach", session, terminal=True) as attach:
        attach.expect("second\r\n")
        attach.type("echo typed $((1+1))\n")
        attach.expect("\ntyped 2\r\n")
        attach.type("\x04")
        attach.expect("left; the session goes on")
        assert attach.wait() == 0
    assert roost.daemon.call("session.wait", session=session)["session"]["state"] == "ready"


def test_ctrl_c_cancels_what_runs_and_the_person_stays(roost: Roost, session: str) -> None:
    with roost.started("attach", session, terminal=True) as attach:
        for word in ("one", "two"):
            attach.type(f"echo {word}-$((1+1)); sleep 60\n")
            attach.expect(f"{word}-2\r\n")
            attach.type("\x03")
            attach.expect("cancelling")
            attach.expect("cancelled (user)")
        attach.type("\x03")
        attach.expect("nothing runs")
        attach.type("\x03")
        attach.expect("left;")
        assert attach.wait() == 130


def test_ctrl_c_twice_leaves_the_turn_running(roost: Roost, session: str) -> None:
    with roost.started("attach", session, terminal=True) as attach:
        attach.type("trap '' INT TERM; echo deaf-$((1+1)); sleep 60\n")
        attach.expect("deaf-2\r\n")
        attach.type("\x03")
        attach.expect("Ctrl-C again leaves")
        attach.type("\x03")
        attach.expect("left;")
        assert attach.wait() == 130
    assert roost.daemon.session(session)["turn"] is not None


def test_two_attached_see_the_same_and_what_the_other_typed(roost: Roost, session: str) -> None:
    with roost.started("attach", session) as one, roost.started("attach", session) as two:
        one.expect("second\n")
        two.expect("second\n")
        one.type("echo from one\n")
        two.expect("> echo from one\nfrom one\n")
        one.close_stdin()
        assert one.wait() == 0
        two.type("echo from two\n")
        two.expect("from two\n")


def test_a_turn_that_runs_is_seen_from_its_beginning(roost: Roost, session: str) -> None:
    gate = roost.daemon.workspace / f"{session}-gate"
    with roost.started(
        "run", "-s", session, f"echo begun; while [ ! -e {gate} ]; do sleep 0.02; done; echo done"
    ) as run:
        run.expect("begun\n")
        with roost.started("attach", session) as attach:
            attach.expect("begun\n")
            gate.touch()
            attach.expect("done\n")
        assert run.wait() == 0


def test_a_prompt_that_is_held_says_so(roost: Roost, session: str) -> None:
    roost.daemon.send(session, "while [ ! -e fail ]; do sleep 0.02; done; exit 1")
    roost.daemon.send(session, "echo behind")
    (roost.daemon.workspace / "fail").touch()
    roost.daemon.call("session.wait", session=session)
    done = roost("attach", session, stdin="echo more\n")
    assert done.status == 8
    assert "on hold (" in done.err and "roost release" in done.err


def test_a_hold_of_before_is_none_of_its_own(roost: Roost, session: str) -> None:
    """Its history is longer than what comes at once, so that the prompt is sent before the hold in it is seen."""
    roost.daemon.send(
        session, "head -c 3000000 /dev/zero | tr '\\0' x; while [ ! -e over ]; do sleep 0.02; done; exit 1"
    )
    roost.daemon.send(session, "true")
    (roost.daemon.workspace / "over").touch()
    assert roost.daemon.call("session.wait", session=session)["session"]["hold"]
    roost.daemon.call("session.release", session=session)
    assert not roost.daemon.call("session.wait", session=session)["session"]["hold"]
    done = roost("attach", session, stdin="echo third; exit 5")
    assert done.status == 1
    assert "\nthird\n" in done.out and "[exit status 5]" in done.out.splitlines()[-1]


def test_a_hold_while_its_own_turn_runs_does_not_end_it_before_that(roost: Roost, session: str) -> None:
    with roost.started("attach", session) as attach:
        attach.type("trap 'echo told; exit 5' TERM; echo runs; while :; do sleep 0.02; done\n")
        attach.expect("\nruns\n")
        attach.close_stdin()
        roost.daemon.send(session, "true")
        roost.daemon.call("session.stop", session=session)
        assert "told\n" in attach.rest()
        assert attach.wait() == 6


def test_a_prompt_that_is_refused_does_not_end_it(roost: Roost, session: str) -> None:
    done = roost("attach", session, stdin="x" * 1_500_000 + "\necho after\n")
    assert "after\n" in done.out and "the prompt has 1500000 bytes" in done.err


def test_ctrl_c_cancels_what_runs_also_when_another_turn_has_ended_meanwhile(roost: Roost, session: str) -> None:
    with roost.started("attach", session, terminal=True) as attach:
        attach.expect("second\r\n")
        attach.type("echo on-$((1+1)); sleep 60\n")
        attach.expect("on-2\r\n")
        queued = roost.daemon.send(session, "true")
        roost.daemon.call("turn.cancel", turn=queued)
        attach.expect(f"{queued} cancelled")
        attach.type("\x03")
        attach.expect("cancelling")
        attach.expect("cancelled (user)")
