"""A subscriber of all events, to be stopped by SIGSTOP. Told an offset on stdin it ends there; it says what it saw."""

import select
import sys
import time

from roost.client.connection import Connection
from roost.protocol.errors import RoostError

from .ledger import Broken, Sequence

PAUSE = 0.05


def main(socket: str) -> str:
    sequence = Sequence("a stopped subscriber", "offset", 0)
    target: float = float("inf")
    while sequence.after < target:
        try:
            target = read(socket, sequence, target)
        except Broken as broken:
            return str(broken)
        except RoostError:  # the daemon is between two lives
            time.sleep(PAUSE)
    return str(sequence.count)


def read(socket: str, sequence: Sequence, target: float) -> float:
    """Read until the target is reached, or the daemon goes; the target, which may come meanwhile."""
    with Connection(socket, name="stopped") as connection:
        connection.call("events.subscribe", {"all": True, "after": sequence.again()})
        while sequence.after < target:
            while (notification := connection.take()) is not None:
                if notification.method == "events.end":
                    return target
                sequence.see(notification.params)
            readable, _, _ = select.select([connection, *([sys.stdin] if target == float("inf") else [])], [], [], 1)
            if sys.stdin in readable:
                target = float(sys.stdin.readline() or 0)
            if connection in readable:
                connection.receive(0)
    return target


if __name__ == "__main__":
    print(main(sys.argv[1]))
