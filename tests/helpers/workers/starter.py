"""A worker that starts a command which does not listen, in a session of its own, and says its pid."""

import subprocess

from roost import worker

STUBBORN = "trap '' TERM; echo here; while :; do sleep 1000; done"


def turn(turn: worker.Turn) -> None:
    command = subprocess.Popen(["sh", "-c", STUBBORN], stdout=subprocess.PIPE, start_new_session=True)
    assert command.stdout and command.stdout.readline()
    turn.emit("status", str(command.pid))
    if turn.input == "wait":
        command.wait()


worker.run(turn)
