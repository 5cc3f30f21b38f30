"""What a process tells of itself: its mark, and whether somebody logged in by it."""

import os
import subprocess
from pathlib import Path

from helpers.children import ENV, SOCKET, WAITS, line, python, spawn, start
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
        assert mark_of(child.pid) == ("s-1", SOCKET)
    assert mark_of(child.pid) is None
    half = {**ENV, "ROOST_DAEMON": ""}
    async with await spawn(python("print('ready', flush=True); input()"), env=half) as child:
        await line(child)
        assert mark_of(child.pid) is None
