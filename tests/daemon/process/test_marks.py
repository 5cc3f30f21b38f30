"""What a process tells of itself: its mark, and whether somebody logged in by it."""

import os
import subprocess
from pathlib import Path

import pytest

from helpers.children import ENV, SOCKET, WAITS, line, start
from roost.daemon.process import proc
from roost.daemon.process.proc import Mark


def test_login_shells_have_a_terminal_and_a_dash(tmp_path: Path) -> None:
    stat = proc.stat(os.getpid())
    assert stat is not None and not proc.is_login_shell(stat._replace(tty=0))
    login = subprocess.Popen(["-sh", "-c", "read x"], executable="/bin/sh", stdin=subprocess.PIPE)
    there = proc.stat(login.pid)
    assert there is not None
    assert not proc.is_login_shell(there._replace(tty=0))
    while not proc.is_login_shell(there._replace(tty=34816)):
        pass  # in the middle of its exec it has no arguments
    login.communicate(b"\n")
    assert not proc.is_login_shell(there._replace(tty=34816)), "it is gone"


def mark_of(pid: int) -> Mark | None:
    found = proc.stat(pid)
    return found and proc.mark(found)


async def test_marks_are_read_from_the_environment() -> None:
    async with await start(WAITS) as child:
        await line(child)
        assert mark_of(child.pid) == (child.root.tree, SOCKET) and child.root.owner == "s-1"
    assert mark_of(child.pid) is None


@pytest.mark.parametrize(
    "variables, mark",
    [
        ({"ROOST_CHILD": "m-1/c-1", "ROOST_SESSION": "s-1", "ROOST_DAEMON": "/d"}, (("m-1", "c-1"), "/d")),
        ({"ROOST_SESSION": "s-1", "ROOST_DAEMON": "/d"}, (("s-1", ""), "/d")),
        ({"ROOST_CHILD": "s-1/c-1"}, None),
        ({"ROOST_DAEMON": "/d"}, None),
    ],
    ids=["a child's", "an older roostd's", "no daemon's", "no owner's"],
)
def test_a_mark_is_of_a_child_or_of_a_session_alone(variables: dict[str, str], mark: object) -> None:
    with subprocess.Popen(["cat"], env={**ENV, **variables}, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b"x")
        process.stdin.flush()
        assert process.stdout.read(1) == b"x", "its exec is over"
        assert mark_of(process.pid) == mark
        process.stdin.close()
