"""A daemon to measure: started in a state directory of its own, talked to, ended by SIGTERM."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from roost.client.connection import Connection
from roost.protocol.errors import DaemonUnreachable

from .measure import timed

HERE = Path(__file__).parent
START_SECONDS = 30.0
STOP_SECONDS = 60.0
CALL_SECONDS = 60.0
WINDOW = 500
"""Requests on their way at once; a connection may have 1,024."""


class Roostd:
    """One daemon.

    Args:
        directory: its state directory; made if it is missing.
        more: settings, beside those of the engines.
    """

    def __init__(self, directory: Path, more: str = "") -> None:
        self.directory = directory
        directory.mkdir(mode=0o700, exist_ok=True)
        (directory / "roost.toml").write_text(_settings() + more)
        self.socket = str(directory / "run" / "roost.sock")
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("ROOST_")}
        self.environ |= {"ROOST_STATE_DIRECTORY": str(directory), "ROOST_CONFIG": str(directory / "roost.toml")}
        self.process: subprocess.Popen[bytes]
        self.connection: Connection

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        if self.process.poll() is None:
            self.stop()

    @property
    def pid(self) -> int:
        return self.process.pid

    def start(self) -> None:
        command = [sys.executable, "-P", "-m", "roost.daemon"]
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(command, env=self.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self._wait_serving()
        except Exception as exc:
            exc.add_note(f"the log of roostd:\n{(self.directory / 'log').read_text()}")
            raise

    def _wait_serving(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.connection = Connection(self.socket, name="bench")
                return
            except DaemonUnreachable as exc:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"roostd did not start: {self.log()}") from exc
            time.sleep(0.005)

    def stop(self) -> tuple[float, int]:
        """Seconds from SIGTERM to its end, and its exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return timed(lambda: self.process.wait(STOP_SECONDS)), self.process.returncode
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise RuntimeError(f"roostd did not stop within {STOP_SECONDS:g} s: {self.log()}") from None

    def kill(self) -> None:
        """kill -9."""
        self.connection.close()
        self.process.kill()
        self.process.wait()

    def log(self) -> str:
        lines = (self.directory / "log").read_text().strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self.connection.call(method, params, CALL_SECONDS)

    def all(self, method: str, many: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """The results of one request for each of ``many`` params, pipelined."""
        params, results = list(many), list[dict[str, Any]]()
        for begin in range(0, len(params), WINDOW):
            sent = [self.connection.send(method, one) for one in params[begin : begin + WINDOW]]
            results += [self.connection.result(msgid, method, CALL_SECONDS) for msgid in sent]
        return results

    def sessions(self, engine: str, count: int, *, live: bool = True, **params: Any) -> list[str]:
        """The ids of ``count`` new sessions."""
        one = {"engine": engine, "workspace": str(self.directory), **params}
        ids = [made["session"]["id"] for made in self.all("session.create", [one] * count)]
        if live:
            self.each("session.start", ids)
        return ids

    def each(self, method: str, sessions: Iterable[str], **params: Any) -> list[dict[str, Any]]:
        """One request for each of ``sessions``, pipelined."""
        return self.all(method, [{"session": session, **params} for session in sessions])

    def offset(self) -> int:
        """The number of the last event there is."""
        return int(self.call("events.subscribe", all=True, follow=False)["after"])

    def children(self) -> list[int]:
        """The pids of its sessions' live children."""
        listed = self.call("session.list", limit=1000)["sessions"]
        return [session["pid"] for session in listed if session["pid"]]


def _settings() -> str:
    """Two workers; and a shell script out of the session's own environment, as a worker that never speaks and as a
    program for each turn."""
    python, shell = [sys.executable, "-P"], ["sh", "-c", 'eval "$SCRIPT"']
    engines = {"load": [*python, str(HERE / "child.py")], "dirty": [*python, str(HERE / "dirty.py")], "script": shell}
    programs = "".join(f"[engines.{name}]\ncommand = {json.dumps(command)}\n" for name, command in engines.items())
    return programs + f"[engines.program]\nkind = 'command'\ncommand = {json.dumps(shell)}\n"
