"""A worker that uses stdin and stdout as if they were its own."""

import os
import subprocess
import sys

from roost import worker


def turn(turn: worker.Turn) -> None:
    print("printed")
    os.write(1, b"written\n")
    subprocess.run(["sh", "-c", "echo from a command; ls -l /proc/self/fd"], check=True)
    turn.emit("agent_message", repr(sys.stdin.read()), title="what stdin holds")
    there = subprocess.run(["ls", "/proc/self/fd"], capture_output=True, text=True, check=True, close_fds=False)
    turn.emit("agent_message", there.stdout, title="descriptors of a command")


worker.run(turn)
