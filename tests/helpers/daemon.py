"""A real roostd on a temporary state directory, for tests: start it, call it, kill it, start it again."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from roost.client.connection import Connection

DEADLINE = 30.0
"""Seconds within which anything that a test waits for happens, on a loaded machine too."""


def wait_until(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """What ``condition`` returns as soon as it is true."""
    end = time.monotonic() + deadline
    while True:
        before = time.thread_time()
        if found := condition():
            return found
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline} s in vain: {what}")
        # What takes long to look at is looked at less often: what is waited for needs the core, too.
        signal.sigtimedwait([], max(0.01, 4 * (time.thread_time() - before)))


def alive(pid: int) -> bool:
    """Whether ``pid`` is a process that runs: a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            stat = file.readall()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[0] not in b"ZX"


def pids_with(variable: str) -> set[int]:
    """Live processes whose environment holds ``variable`` (``NAME=value``)."""
    wanted = variable.encode()
    return pids_whose("environ", lambda content: wanted in content and wanted in content.split(b"\0"))


def pids_whose(name: str, fits: Callable[[bytes], bool]) -> set[int]:
    """Live processes whose file of that name in /proc holds what fits."""
    found: set[int] = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:
                content = file.readall()
        except OSError:
            continue
        if fits(content) and alive(int(pid)):
            found.add(int(pid))
    return found


class Daemon:
    """One state directory and the daemon on it, if one runs."""

    def __init__(self, state: Path, config: str = "", **environ: str) -> None:
        self.state = state
        self.workspace = state.parent / f"{state.name}-workspace"
        self.workspace.mkdir(exist_ok=True)
        self.socket = state / "run" / "roost.sock"
        self.log = state.parent / f"{state.name}.log"
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith(("ROOST_", "LISTEN_", "XDG_"))}
        self.environ |= {"ROOST_STATE_DIRECTORY": str(state), **environ}
        if config:
            path = state.parent / f"{state.name}.toml"
            path.write_text(config)
            self.environ["ROOST_CONFIG"] = str(path)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *wrapper: str) -> "Daemon":
        """Start roostd (under ``wrapper``, if given) and wait until it serves."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*wrapper, sys.executable, "-m", "roost.daemon"],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._serves, f"roostd serves; its log:\n{self.log.read_text()[-2000:]}")
        return self

    def _serves(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"roostd exited with {self.process.returncode}:\n{self.log.read_text()[-4000:]}")
        return self.serves()

    def serves(self) -> bool:
        """Whether there is one that answers."""
        try:
            with self.connect() as connection:
                connection.call("daemon.status", {})
        except Exception:
            return False
        return True

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """kill -9, and wait for the end."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(DEADLINE)

    def stop(self, sig: signal.Signals = signal.SIGTERM, deadline: float = DEADLINE) -> int:
        """Stop it in order; its exit status."""
        assert self.process is not None
        self.process.send_signal(sig)
        return self.process.wait(deadline)

    def close(self) -> None:
        """End it, and every child that bears its mark."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)  # what it was wrapped in, too
            self.process.wait(DEADLINE)
        for pid in pids_with(f"ROOST_DAEMON={self.socket}"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def connect(self) -> Connection:
        return Connection(str(self.socket), name="test", timeout=DEADLINE)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One call on a connection of its own."""
        with self.connect() as connection:
            return connection.call(method, params, DEADLINE)

    @contextlib.contextmanager
    def reloaded(self, config: str) -> Generator[None]:
        """Other settings that hold at once, and then those of before again."""
        path = Path(self.environ["ROOST_CONFIG"])
        before = path.read_text()
        try:
            path.write_text(config)
            assert self.call("daemon.reload")["restart"] == []
            yield
        finally:
            path.write_text(before)
            self.call("daemon.reload")

    # --- what most tests do ---

    def create(self, engine: str = "shell", **params: Any) -> str:
        """A session in the workspace; its id."""
        params = {"workspace": str(self.workspace), "env": {"PATH": os.environ["PATH"]}, **params}
        return str(self.call("session.create", engine=engine, **params)["session"]["id"])

    def session(self, session: str) -> dict[str, Any]:
        return dict(self.call("session.get", session=session)["session"])

    def send(self, session: str, prompt: str, **params: Any) -> str:
        """Queue a prompt; the turn's id."""
        return str(self.call("turn.send", session=session, input=prompt, **params)["turn"]["id"])

    def wait(self, turn: str) -> dict[str, Any]:
        """The turn once it has ended."""
        return dict(self.call("turn.wait", turn=turn)["turn"])

    def run(self, session: str, prompt: str, **params: Any) -> dict[str, Any]:
        """Send a prompt and wait for its end: the turn."""
        return self.wait(self.send(session, prompt, **params))

    def output(self, turn: str) -> str:
        """What the items of a turn hold, joined."""
        return "".join(item["content"] for item in self.call("turn.get", turn=turn)["items"])

    def delete_all(self) -> None:
        """Delete every session."""
        with self.connect() as connection:
            for archived in (False, True):
                while sessions := connection.call("session.list", {"archived": archived})["sessions"]:
                    asked = [
                        connection.send("session.delete", {"session": session["id"], "force": True})
                        for session in sessions
                    ]
                    for msgid in asked:
                        connection.result(msgid, "session.delete")

    def events(self, session: str | None = None, after: int = 0) -> list[dict[str, Any]]:
        """All events of a session, or of all, by events.read."""
        feed: dict[str, Any] = {"session": session} if session else {"all": True}
        found: list[dict[str, Any]] = []
        with self.connect() as connection:
            while True:
                page = connection.call("events.read", {**feed, "after": after, "limit": 1000})
                found += page["events"]
                after = page["next"]
                if not page["more"]:
                    return found


@contextlib.contextmanager
def running(state: Path | None = None, config: str = "", **environ: str) -> Generator[Daemon]:
    """A daemon that is started, and ended with all its children at the end."""
    with tempfile.TemporaryDirectory(prefix="roost-") as scratch:
        daemon = Daemon(state or Path(scratch) / "s", config, **environ)
        try:
            yield daemon.start()
        finally:
            daemon.close()
