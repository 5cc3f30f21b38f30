"""What the command says of a session that has failed: why nothing runs, and what to do about it."""

import pytest

from helpers.cli import INTENSITY, Done, Roost
from helpers.daemon import wait_until


def new(roost: Roost) -> str:
    return roost.daemon.create("dies", after={"failed": "continue"})


@pytest.fixture
def session(roost: Roost) -> str:
    """A session that has failed, and whose queue is empty."""
    id = new(roost)
    for number in range(INTENSITY):
        roost.daemon.send(id, f"try {number}")
    wait_until(lambda: roost.daemon.session(id)["state"] == "failed", "it has failed")
    wait_until(lambda: roost.daemon.session(id)["queued"] == 0, "the prompts have failed")
    return id


def tells(text: str, known: str) -> bool:
    return "failed (" in text and "tried again later by itself" in text and f"`roost start {known}`" in text


def test_what_is_queued_in_it_is_not_said_to_run(roost: Roost, session: str) -> None:
    sent = roost("send", session, "more")
    assert sent.status == 0 and tells(sent.err, session) and "it runs" not in sent.err
    detached = roost("run", "-d", "-s", session, "still more")
    assert detached.status == 0 and tells(detached.err, session) and "it runs" not in detached.err
    listed = roost("queue", session)
    assert len(listed.out.splitlines()) == 3 and tells(listed.err, session)
    waited = roost("wait", session)
    assert waited.status == 8 and waited.err.startswith("roost: 2 queued") and tells(waited.err, session)


@pytest.mark.parametrize("verb", [["run", "-s"], ["send", "-w"]], ids=["run", "send"])
def test_who_waits_for_a_prompt_of_it_gets_8(roost: Roost, session: str, verb: list[str]) -> None:
    done = roost(*verb, session, "x")
    assert (done.status, done.out) == (8, "") and tells(done.err, session)
    assert f"`roost queue {session} rm t-" in done.err and done.err.endswith("(session_failed)\n")


def test_a_piped_prompt_gets_8(roost: Roost, session: str) -> None:
    done = roost("attach", session, stdin="x\ny\n")
    assert done.status == 8 and tells(done.err, session)


def test_the_empty_queue_of_it_has_nothing_to_tell(roost: Roost, session: str) -> None:
    assert roost("queue", session) == (0, "", "nothing waits\n")
    assert roost("wait", session, "-q") == (1, "", "")


WAITERS = {
    "run": (["run", "-s", "S", "x"], ""),
    "attach": (["attach", "S"], "x\n"),
    "wait": (["wait", "S"], ""),
}


def failing(roost: Roost, waiter: str, before: int) -> tuple[Done, str]:
    """What a command said that waited behind ``before`` prompts of a session whose start failed only then; its id."""
    hold = roost.daemon.workspace / "hold"
    hold.touch()
    session = new(roost)
    for number in range(before):
        roost.daemon.send(session, f"try {number}")
    if waiter == "wait":
        roost.daemon.send(session, "x")
    argv, stdin = WAITERS[waiter]
    with roost.started(*(session if word == "S" else word for word in argv)) as command:
        command.type(stdin)
        command.close_stdin()
        wait_until(lambda: roost.daemon.session(session)["queued"] == before + 1, "all wait")
        hold.unlink()
        out = command.rest()
        return Done(command.wait(), out, command.err()), session


@pytest.mark.parametrize("waiter", WAITERS)
def test_who_waits_behind_is_told_when_it_fails(roost: Roost, waiter: str) -> None:
    done, session = failing(roost, waiter, INTENSITY)
    assert done.status == 8 and tells(done.err, session)
    (waiting,) = roost.daemon.call("turn.list", session=session, state="queued")["turns"]
    assert waiting["input"] == "x"


@pytest.mark.parametrize("waiter", WAITERS)
def test_the_prompt_that_wanted_the_last_start_fails_with_it(roost: Roost, waiter: str) -> None:
    done, session = failing(roost, waiter, INTENSITY - 1)
    assert done.status == 1 and "roost start" not in done.err
    wait_until(lambda: roost.daemon.session(session)["state"] == "failed", "it has failed")
