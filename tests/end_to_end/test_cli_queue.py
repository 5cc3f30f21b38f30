"""The verbs about turns that wait or run: send, queue, release, cancel, wait."""

import json

import pytest

from helpers.cli import Roost
from helpers.daemon import wait_until


class Busy:
    """A session with one turn that runs until it is let go, and three that wait."""

    def __init__(self, roost: Roost, name: str) -> None:
        self.roost, self.daemon, self.name = roost, roost.daemon, name
        self.gate = roost.daemon.workspace / f"{name}-go"
        self.daemon.create("sh", name=name)
        self.running = self.daemon.send(name, f"while [ ! -e {self.gate} ]; do sleep 0.02; done")
        self.waiting = [self.daemon.send(name, f"echo {n}") for n in (1, 2, 3)]

    def queue(self, *argv: str) -> list[str]:
        """The turns that wait, after changing them as ``argv`` says."""
        if argv:
            done = self.roost("queue", self.name, *argv)
            assert done.status == 0, done.err
        return [turn["id"] for turn in self.daemon.call("turn.list", session=self.name, state="queued")["turns"]]

    def printed(self) -> list[str]:
        """What the turns that ran have printed, in the order that they ran in."""
        started = [event["turn"] for event in self.daemon.events(self.name) if event["kind"] == "turn.started"]
        return [self.daemon.output(turn) for turn in started]

    def finish(self) -> None:
        self.gate.touch()
        session = self.daemon.call("session.wait", session=self.name)["session"]
        assert self.daemon.wait(session["last_turn"])["state"] == "completed"


def test_send_prints_the_turn_and_what_is_before_it(roost: Roost) -> None:
    busy = Busy(roost, "sent")
    done = roost("send", "sent", "echo", "4")
    assert done.out.startswith("t-") and done.out.count("\n") == 1
    assert "after 4 before it" in done.err and f"roost wait {done.out.strip()}" in done.err
    assert json.loads(roost("send", "sent", "echo 5", "--json").out)["ahead"] == 5
    quiet = roost("send", "-q", "sent", "echo 6")
    assert (quiet.out.strip(), quiet.err) == (busy.queue()[-1], "")
    busy.finish()
    assert "it runs now" in roost("send", "sent", "true").err


def test_send_and_wait_streams_the_turn(roost: Roost) -> None:
    session = roost.daemon.create("sh", name="streamed")
    done = roost("send", "-w", "streamed", "echo out; exit 7")
    assert (done.status, done.out) == (1, "out\n")
    last = roost.daemon.session(session)["last_turn"]
    assert roost("send", "-w", "streamed", "--retry", last).out == "out\n"
    (roost.daemon.workspace / "other").write_text("echo other")
    assert roost("send", "-w", "streamed", "--retry", last, "--file", "other").out == "other\n"


def test_the_queue_is_listed_in_the_order_it_runs(roost: Roost) -> None:
    busy = Busy(roost, "listed")
    header, *rows = roost("queue", "listed").out.splitlines()
    assert header.split() == ["NUMBER", "TURN", "STATE", "REASON", "AGE", "TOOK", "PROMPT"]
    assert [row.split()[1] for row in rows] == busy.waiting == roost("queue", "listed", "-q").out.split()
    assert [json.loads(line)["input"] for line in roost("queue", "listed", "--json").out.splitlines()] == [
        "echo 1",
        "echo 2",
        "echo 3",
    ]
    busy.finish()
    assert roost("queue", "listed") == (0, "", "nothing waits\n")


def test_prompts_that_wait_are_edited_moved_and_removed(roost: Roost) -> None:
    busy = Busy(roost, "changed")
    first, second, third = busy.waiting
    assert busy.queue("move", third, "--before", first) == [third, first, second]
    assert busy.queue("move", first[:12], "--last") == [third, second, first]
    assert busy.queue("rm", second) == [third, first]
    assert busy.queue("edit", first, "echo", "edited") == [third, first]
    busy.finish()
    assert busy.printed() == ["", "3\n", "edited\n"]


def test_edit_opens_the_editor_on_the_prompt_as_it_is(roost: Roost) -> None:
    busy = Busy(roost, "edited")
    editor = roost.daemon.workspace / "editor"
    editor.write_text('#!/bin/sh\nsed -i s/echo/printf/ "$1"\n')
    editor.chmod(0o700)
    with roost.started("queue", "edited", "edit", busy.waiting[0], terminal=True, VISUAL=str(editor)) as edit:
        edit.expect("done")
        assert edit.wait() == 0
    assert roost.daemon.call("turn.get", turn=busy.waiting[0])["turn"]["input"] == "printf 1"
    busy.finish()


@pytest.mark.parametrize(
    "argv", [["edit"], ["move", "t-a"], ["rm", "t-a", "--last"], ["rm", "t-a", "word"], ["edit", "t-a", "--last", "x"]]
)
def test_a_change_that_is_not_whole_is_wrong_usage(roost: Roost, argv: list[str]) -> None:
    assert roost("queue", "any", *argv).status == 2


def test_only_what_waits_in_this_session_can_be_changed(roost: Roost) -> None:
    busy, other = Busy(roost, "mine"), Busy(roost, "other")
    stranger = roost("queue", "mine", "rm", other.waiting[0])
    assert stranger.status == 4 and "is not a turn of mine" in stranger.err
    running = roost("queue", "mine", "rm", busy.running)
    assert running.status == 8 and running.err.endswith("(turn_not_queued)\n")
    assert other.queue() == other.waiting
    busy.finish()
    other.finish()


def test_a_failure_holds_the_queue_until_it_is_released(roost: Roost) -> None:
    busy = Busy(roost, "held")
    roost.daemon.call("turn.cancel", turn=busy.running)
    roost.daemon.wait(busy.running)
    waited = roost("wait", "held")
    assert waited.status == 8 and "3 queued, and it is on hold" in waited.err
    sent = roost("send", "held", "echo 4")
    assert sent.status == 0 and sent.err.startswith("on hold (") and "roost release held" in sent.err
    assert "on hold" in roost("queue", "held").err
    assert roost("queue", "held", "rm", busy.waiting[0]).status == 0
    released = roost("release", "held")
    assert released.status == 0 and "roost attach held" in released.err
    roost.daemon.call("session.wait", session="held")
    assert busy.printed() == ["", "2\n", "3\n", "4\n"]


def test_cancel_takes_a_session_or_a_turn_and_twice_is_once(roost: Roost) -> None:
    """The first reason stays, and a turn that has ended is left as it is."""
    busy = Busy(roost, "cancelled")
    withdrawn = roost("cancel", busy.waiting[0])
    assert withdrawn.out == f"{busy.waiting[0]} cancelled\n" and "it will not run; `roost queue s-" in withdrawn.err
    assert roost("cancel", "-q", busy.waiting[1]).err == ""
    first = roost("cancel", "cancelled")
    assert first.out == f"{busy.running} requested\n" and "roost wait" in first.err
    assert roost("wait", busy.running).status == 6
    ended = roost("cancel", busy.running)
    assert ended.out == f"{busy.running} ended\n" and f"`roost show {busy.running}`" in ended.err
    assert json.loads(roost("cancel", busy.running, "--json").out)["turn"]["reason"] == "user"
    nothing = roost("cancel", "cancelled")
    assert (nothing.status, nothing.out) == (0, "") and "runs nothing" in nothing.err


def test_wait_gives_up_in_time(roost: Roost) -> None:
    busy = Busy(roost, "slow")
    assert roost("wait", "slow", "--timeout", "50ms").status == 3
    done = roost("wait", busy.running, "--timeout", "50ms")
    assert done.status == 3 and done.err.endswith("(timed_out)\n")
    busy.finish()


def test_wait_has_the_status_of_the_turn(roost: Roost) -> None:
    roost.daemon.create("sh", name="ended")
    assert roost("wait", "ended") == (0, "", "")
    turn = roost.daemon.send("ended", "exit 1")
    assert roost("wait", turn) == (1, f"{turn} failed\n", "")
    assert roost("wait", "ended", "-q") == (1, "", "")
    assert json.loads(roost("wait", turn, "--json").out)["exit_code"] == 1


def test_wait_can_be_interrupted(roost: Roost) -> None:
    busy = Busy(roost, "awaited")
    with roost.started("wait", "awaited", terminal=True) as wait:
        wait_until(lambda: roost.daemon.call("daemon.status")["clients"] == 2, "it is connected")
        wait.type("\x03")
        assert wait.wait() == 130
    busy.finish()
