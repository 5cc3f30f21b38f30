"""``roost log S --stderr``: what the children of a session wrote there, kept over restarts, followed, and deleted."""

import json

from helpers.cli import Roost
from helpers.daemon import Daemon, running, wait_until
from helpers.engines import engines


def told(daemon: Daemon) -> str:
    """A new session whose child has written there."""
    session = daemon.create("sh")
    daemon.run(session, "echo one >&2; echo two >&2; printf '\\351\\n' >&2")
    return session


def files(daemon: Daemon, session: str) -> list[str]:
    return [file.name for file in (daemon.state / "stderr" / session).glob("*")]


def test_it_is_kept_over_a_restart_and_read_by_lines_or_from_an_offset() -> None:
    with running(config=engines()) as daemon:
        roost, session = Roost(daemon), told(daemon)
        assert roost("log", session, "--stderr").out == "one\ntwo\n\ufffd\n"
        daemon.kill()
        daemon.start()
        daemon.run(session, "printf half >&2")
        assert roost("log", session, "--stderr").out == "one\ntwo\n\ufffd\nhalf"
        for count, last in (("0", ""), ("1", "half"), ("3", "two\n\ufffd\nhalf"), ("9", "one\ntwo\n\ufffd\nhalf")):
            assert roost("log", session, "--stderr", "-n", count).out == last
        read = json.loads(roost("log", session, "--stderr", "--json", "--after", "4").out)
        assert read == {"session": session, "content": "two\n\ufffd\nhalf", "missed": 0, "next": 14}
        assert len(files(daemon, session)) == 1


def test_what_is_gone_is_said(roost: Roost) -> None:
    session = told(roost.daemon)
    for _ in range(4):
        roost.daemon.run(session, "head -c 1000000 /dev/zero | tr '\\0' x >&2; echo >&2")
    done = roost("log", session, "--stderr")
    assert len(files(roost.daemon, session)) == 2 and len(done.out) < 2_300_000
    end = roost.daemon.call("session.stderr", session=session)["bytes"]
    assert end == 4_000_014 and f"roost: {end - len(done.out)} bytes of older output are gone" in done.err
    assert roost("log", session, "--stderr", "-n", "1").out == "x" * 1_000_000 + "\n"


def test_it_is_followed_until_ctrl_c_or_until_the_session_is_deleted(roost: Roost) -> None:
    session = told(roost.daemon)
    with (
        roost.started("log", session, "--stderr", "-f", "-n", "1") as one,
        roost.started("log", session, "--stderr", "-f", "--json") as other,
    ):
        one.expect("\ufffd\n")
        other.expect('"next": 10}')
        roost.daemon.run(session, "echo live >&2")
        one.expect("live\n")
        other.expect('"content": "live\\n"')
        one.interrupt()
        assert one.wait() == 130
        assert files(roost.daemon, session)
        roost.daemon.call("session.delete", session=session)
        assert other.wait() == 6 and "deleted" in other.err()
    wait_until(lambda: files(roost.daemon, session) == [], "its files are removed")


def test_it_is_asked_of_one_session_alone(roost: Roost) -> None:
    session = told(roost.daemon)
    for wrong in ([], [session, "--events"], [session, "--turn", "t-1"]):
        assert roost("log", "--stderr", *wrong).status == 2
    assert roost("log", "--stderr", "nobody").status == 4
