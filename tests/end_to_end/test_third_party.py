"""A MessagePack-RPC client that is not ours (pynvim's, in a process of its own) lists sessions and follows events."""

import json
import os
import subprocess
import sys
from pathlib import Path

from helpers.daemon import DEADLINE, Daemon, wait_until

PROGRAM = Path(__file__).parents[1] / "helpers" / "third_party.py"


def opened(gate: Path) -> bool:
    """Let the one who reads ``gate`` go on, if there is one."""
    try:
        descriptor = os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False
    os.write(descriptor, b"go\n")
    os.close(descriptor)
    return True


def test_it_lists_sessions_reads_events_and_follows_them(daemon: Daemon) -> None:
    session = daemon.create(name="work")
    daemon.run(session, "echo before")
    before = daemon.events(session)
    command = [sys.executable, str(PROGRAM), str(daemon.socket), "work"]
    os.mkfifo(daemon.workspace / "gate")
    # It follows until this turn has ended, and the turn ends only once it follows.
    turn = daemon.send(session, "read x < gate; echo after")
    with subprocess.Popen([*command, turn], stdout=subprocess.PIPE, text=True) as theirs:
        try:
            assert theirs.stdout is not None and theirs.stdout.readline() == "following\n"
            wait_until(lambda: opened(daemon.workspace / "gate"), "the turn reads")
            found = json.loads(theirs.communicate(timeout=DEADLINE)[0])
        finally:
            theirs.kill()
    assert [(one["id"], one["name"]) for one in found["sessions"]] == [(session, "work")]
    assert found["status"] == "running" and found["error"] == "session_not_found"
    assert found["read"][: len(before)] == before
    assert found["followed"] == daemon.events(session)[: len(found["followed"])]
    assert [event["seq"] for event in found["followed"]] == list(range(1, len(found["followed"]) + 1))
