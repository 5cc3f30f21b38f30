"""The daemon's end of one worker's pipes: the real process, blocking calls with a deadline, everything checked."""

import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from roost.protocol import rpc
from roost.protocol.errors import from_wire
from roost.protocol.worker import NESTING, PROTOCOL, RESULTS, TO_DAEMON, check

WORKERS = Path(__file__).with_name("workers")
SHELL = [sys.executable, "-P", "-m", "roost.worker.shell"]
THINKING = [sys.executable, "-P", "-m", "roost.worker.thinking"]
DEADLINE = 20.0


def script(name: str) -> list[str]:
    """The command of a worker in helpers/workers."""
    return [sys.executable, "-P", str(WORKERS / f"{name}.py")]


def wait_gone(pidfd: int) -> None:
    """Wait until the process of a pidfd has ended, and close it."""
    try:
        assert select.select([pidfd], [], [], DEADLINE)[0], "it still lives"
    finally:
        os.close(pidfd)


class Gate:
    """A named pipe that a command waits at or reports to; nobody waits without a deadline."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._end = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def open(self, line: str = "go") -> None:
        os.write(self._end, f"{line}\n".encode())

    def wait(self) -> str:
        """The next line that a command writes."""
        assert select.select([self._end], [], [], DEADLINE)[0], "nobody came"
        return os.read(self._end, 1024).decode()

    def __del__(self) -> None:
        os.close(self._end)


@dataclass
class HeardItem:
    """What was reported of one item."""

    kind: str
    title: str
    data: dict[str, Any]
    state: str = "in_progress"
    deltas: list[str] = field(default_factory=list[str])

    @property
    def text(self) -> str:
        return "".join(self.deltas)


class Driver:
    """A worker process; `with Driver(SHELL, tmp_path) as worker: worker.initialize()`."""

    def __init__(self, command: list[str], workspace: Path, **env: str) -> None:
        self.workspace = workspace
        self._stderr = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command,
            cwd=workspace,
            env={**os.environ, "ROOST_SESSION": "s-test", **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,
            start_new_session=True,
        )
        assert self.process.stdin and self.process.stdout
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self.wire = rpc.Connection()
        self.items: dict[str, HeardItem] = {}
        self.notes: list[rpc.Notification] = []
        self.turns = 0
        self._asked: dict[int, str] = {}
        self._answers: dict[int, rpc.Response] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stdin.close()
        try:
            self.process.wait(5)
        finally:
            self.process.kill()
            self.process.wait()
            self.stdout.close()
            self._stderr.close()

    @property
    def stderr(self) -> str:
        """All that it wrote there so far."""
        return os.pread(self._stderr.fileno(), 1 << 20, 0).decode()

    # --- requests ---

    def ask(self, method: str, **params: Any) -> int:
        """Send a request; its msgid."""
        msgid = self.wire.next_msgid()
        self._asked[msgid] = method
        self.stdin.write(rpc.request(msgid, method, params))
        return msgid

    def answer(self, msgid: int) -> dict[str, Any]:
        """The result of a request, or its error raised as the daemon's own code would."""
        self.wait_until(lambda: msgid in self._answers)
        response = self._answers.pop(msgid)
        if response.error is not None:
            raise from_wire(response.error)
        return check(RESULTS, self._asked[msgid], response.result)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self.answer(self.ask(method, **params))

    def initialize(self, **params: Any) -> dict[str, Any]:
        given: dict[str, Any] = {
            "protocol": PROTOCOL,
            "session": "s-test",
            "workspace": str(self.workspace),
            "history": [],
            "limits": {"frame": 16 * 1024 * 1024, "nesting": NESTING},
            "answers": [],
        }
        return self.call("initialize", **given | params)

    def start(self, prompt: str) -> int:
        """Send a turn and do not wait; `items` and `notes` begin anew."""
        self.turns += 1
        self.items, self.notes = {}, []
        return self.ask("turn.run", turn=f"t-{self.turns}", number=self.turns, input=prompt)

    def turn(self, prompt: str) -> dict[str, Any]:
        """Run one turn to its end."""
        return self.answer(self.start(prompt))

    def cancel(self, reason: str = "user") -> dict[str, Any]:
        return self.call("turn.cancel", turn=f"t-{self.turns}", reason=reason)

    # --- what was heard ---

    @property
    def said(self) -> list[tuple[str, str]]:
        """Kind and text of each item of the last turn."""
        return [(item.kind, item.text) for item in self.items.values()]

    @property
    def output(self) -> str:
        """The text of the last turn's items."""
        return "".join(item.text for item in self.items.values())

    def wait_output(self, text: str) -> None:
        self.wait_until(lambda: text in self.output)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Read on until `condition` is so."""
        deadline = time.monotonic() + DEADLINE
        while not condition():
            left = deadline - time.monotonic()
            assert left > 0, f"still not so; items {self.items}; stderr: {self.stderr}"
            if select.select([self.stdout], [], [], left)[0]:
                data = os.read(self.stdout.fileno(), 1 << 20)
                assert data, f"the worker closed its stdout; stderr: {self.stderr}"
                for message in self.wire.receive(data):
                    self._hear(message)

    def wait_exit(self, timeout: float = 5) -> int:
        """Its exit status."""
        return self.process.wait(timeout)

    def _hear(self, message: rpc.Message) -> None:
        match message:
            case rpc.Response():
                self._answers[message.msgid] = message
            case rpc.Notification():
                check(TO_DAEMON, message.method, message.params)
                self.notes.append(message)
                if message.method.startswith("item."):
                    self._hear_item(message.method, message.params)
            case _:
                raise AssertionError(f"a worker must not send {message}")

    def _hear_item(self, method: str, params: dict[str, Any]) -> None:
        if method == "item.start":
            assert params["item"] not in self.items
            self.items[params["item"]] = HeardItem(params["kind"], params["title"], params["data"])
            return
        item = self.items[params["item"]]
        assert item.state == "in_progress", f"{method} after the end of {item}"
        if method == "item.delta":
            assert 0 < len(params["text"].encode()) <= 65536
            item.deltas.append(params["text"])
        else:
            item.state = params["state"]
            item.data |= params["data"]
