"""A MessagePack-RPC client that is not ours (pynvim's, in a process of its own) lists sessions and follows events."""

import json
import subprocess
import sys
from pathlib import Path

from helpers.daemon import DEADLINE, Daemon

PROGRAM = Path(__file__).parents[1] / "helpers" / "third_party.py"


def test_it_lists_sessions_reads_events_and_follows_them(daemon: Daemon) -> None:
    session = daemon.create(name="work")
    daemon.run(session, "echo before")
    before = daemon.events(session)
    command = [sys.executable, str(PROGRAM), str(daemon.socket), "work"]
    with daemon.connect() as connection:
        # It follows until this turn has ended, and the turn is sent only once it follows.
        held = connection.call("turn.send", {"session": session, "input": "read x < gate; echo after"})["turn"]["id"]
        subprocess.run(["mkfifo", str(daemon.workspace / "gate")], check=True)
        with subprocess.Popen([*command, held], stdout=subprocess.PIPE, text=True) as theirs:
            assert theirs.stdout is not None
            assert theirs.stdout.readline() == "following\n"
            (daemon.workspace / "gate").write_text("go\n")
            found = json.loads(theirs.communicate(timeout=DEADLINE)[0])
    assert [(one["id"], one["name"]) for one in found["sessions"]] == [(session, "work")]
    assert found["status"] == "running" and found["error"] == "session_not_found"
    assert found["read"][: len(before)] == before
    assert found["followed"] == daemon.events(session)[: len(found["followed"])]
    assert [event["seq"] for event in found["followed"]] == list(range(1, len(found["followed"]) + 1))
