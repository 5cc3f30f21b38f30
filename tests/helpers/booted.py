"""What can be asked of a systemd that a test has booted, however it was."""

import subprocess
import time
from abc import ABC, abstractmethod

ASKED = """
import sys, json
from roost.client.connection import Connection
from roost.client.render import json_text
from roost.protocol.errors import RoostError

for line in sys.stdin:
    method, params = json.loads(line)
    try:
        with Connection(sys.argv[1]) as daemon:
            answer = {"result": daemon.call(method, params, timeout=90)}
    except RoostError as exc:
        answer = {"error": repr(exc)}
    print(json_text(answer, indent=None), flush=True)
"""
"""Calls the daemon for each line that it reads, as `roost call` would: most of that one's time is its start."""


class Booted(ABC):
    """A machine with a systemd of its own."""

    @abstractmethod
    def run(self, *command: str, check: bool = True, timeout: float = 200) -> subprocess.CompletedProcess[str]:
        """Run a command as the machine's root; what it printed (both streams) is in `stdout`."""

    def show(self, unit: str, name: str) -> str:
        """One property of a unit, as `systemctl show` prints it."""
        return self.run("systemctl", "show", "--value", "--property", name, unit).stdout.strip()

    def shown(self, unit: str, *names: str) -> list[str]:
        """Properties of a unit, in this order."""
        printed = self.run("systemctl", "show", "--property", ",".join(names), unit).stdout
        values = dict(line.split("=", 1) for line in printed.splitlines())
        return [values[name] for name in names]

    def wait_until(self, *command: str, timeout: float = 60) -> str:
        """Run a command again and again until it succeeds; what it printed then."""
        deadline = time.monotonic() + timeout
        while (done := self.run(*command, check=False)).returncode != 0:
            assert time.monotonic() < deadline, f"{command}: still {done.returncode}\n{done.stdout}"
            time.sleep(0.05)
        return done.stdout
