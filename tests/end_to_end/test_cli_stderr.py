"""``roost log S --stderr``: what the children of a session wrote there, kept over restarts, followed, and deleted."""

import json
from collections.abc import Generator

import pytest

from helpers.cli import Roost
from helpers.daemon import Daemon, running, wait_until
from helpers.engines import engines


@pytest.fixture
def roost() -> Generator[Roost]:
    with running(config=engines()) as daemon:
        made = Roost(daemon)
        made("new", "-e", "sh", "--name", "told")
        made("send", "-w", "told", "echo one >&2; echo two >&2; printf '\\351\\n' >&2")
        yield made


def files(daemon: Daemon) -> list[str]:
    return [file.name for file in (daemon.state / "stderr").glob("*/*")]


def test_it_is_kept_over_a_restart_and_read_by_lines_or_from_an_offset(roost: Roost) -> None:
    assert roost("log", "told", "--stderr").out == "one\ntwo\n\ufffd\n"
    roost.daemon.kill()
    roost.daemon.start()
    roost("send", "-w", "told", "printf half >&2")
    assert roost("log", "told", "--stderr").out == "one\ntwo\n\ufffd\nhalf"
    for count, last in (("0", ""), ("1", "half"), ("3", "two\n\ufffd\nhalf"), ("9", "one\ntwo\n\ufffd\nhalf")):
        assert roost("log", "told", "--stderr", "-n", count).out == last
    told = json.loads(roost("log", "told", "--stderr", "--json", "--after", "4").out)
    session = roost.daemon.session("told")["id"]
    assert told == {"session": session, "content": "two\n\ufffd\nhalf", "missed": 0, "next": 14}
    assert len(files(roost.daemon)) == 1


def test_what_is_gone_is_said(roost: Roost) -> None:
    for _ in range(4):
        roost("send", "-w", "told", "head -c 1000000 /dev/zero | tr '\\0' x >&2; echo >&2")
    told = roost("log", "told", "--stderr")
    assert len(files(roost.daemon)) == 2 and len(told.out) < 2_300_000
    end = roost.daemon.call("session.stderr", session="told")["end"]
    assert end == 4_000_014 and f"roost: {end - len(told.out)} bytes of older output are gone" in told.err
    assert roost("log", "told", "--stderr", "-n", "1").out == "x" * 1_000_000 + "\n"


def test_it_is_followed_until_ctrl_c_or_until_the_session_is_deleted(roost: Roost) -> None:
    with (
        roost.started("log", "told", "--stderr", "-f", "-n", "1") as one,
        roost.started("log", "told", "--stderr", "-f", "--json") as other,
    ):
        one.expect("\ufffd\n")
        other.expect('"next": 10}')
        roost("send", "-w", "told", "echo live >&2")
        one.expect("live\n")
        other.expect('"content": "live\\n"')
        one.interrupt()
        assert one.wait() == 130
        roost("rm", "told")
        assert other.wait() == 6 and "deleted" in other.err()
    wait_until(lambda: files(roost.daemon) == [], "its files are removed")


def test_it_is_asked_of_one_session_alone(roost: Roost) -> None:
    for wrong in ([], ["told", "--events"], ["told", "--turn", "t-1"]):
        assert roost("log", "--stderr", *wrong).status == 2
    assert roost("log", "--stderr", "nobody").status == 4
