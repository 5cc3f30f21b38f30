"""Real children for tests of the room that starts and ends them: the Python interpreter itself."""

import os
import resource
import sys
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import trio

from roost.daemon.process import proc
from roost.daemon.process.processes import Processes
from roost.daemon.process.spawn import Child

ENV = {
    "PATH": os.environ.get("PATH", os.defpath),
    # A test run of a checkout that is not installed finds the package by its path alone.
    "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")},
}

SOCKET = f"/nowhere/{os.getpid()}"
"""Of the daemon that the tests play: the mark of another test run is another one."""
IGNORES_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
WAITS = "import sys, time; print('ready', flush=True); time.sleep(600)\n"
BROOD = """
import os, subprocess, sys, time
plain = subprocess.Popen(["sleep", "600"])
apart = subprocess.Popen(["sleep", "600"], start_new_session=True)
reads, writes = os.pipe()
if os.fork() == 0:
    os.setsid()
    pid = os.fork()
    if pid:
        os.write(writes, str(pid).encode())
        os._exit(0)
    os.execvp("sleep", ["sleep", "600"])
os.wait()
print(plain.pid, apart.pid, os.read(reads, 20).decode(), flush=True)
"""
"""A plain grandchild, one in a session of its own, and one whose parents are gone."""
SLEEPER = "import os, subprocess, sys; sleeper = subprocess.Popen(['sleep', '600']"


def python(code: str) -> list[str]:
    """The command of an interpreter that runs ``code``; -S and -E: it starts in 10 ms."""
    return [sys.executable, "-S", "-E", "-c", code]


async def start(code: str, *, cwd: Path | str = "/", env: dict[str, str] | None = None) -> Child:
    """A child of session ``s-1``."""
    return await spawn(python(code), cwd=cwd, env=env)


async def spawn(
    command: Sequence[str],
    *,
    cwd: Path | str = "/",
    env: dict[str, str] | None = None,
    processes: Processes | None = None,
    session: str = "s-1",
) -> Child:
    processes = processes or Processes(SOCKET)
    marked = {"ROOST_SESSION": session, **(ENV if env is None else env)}
    return await processes.spawn(session, command, cwd=str(cwd), env=marked)


async def line(child: Child) -> str:
    """The next line that the child prints, within 10 s."""
    got = b""
    with trio.fail_after(10):
        while not got.endswith(b"\n"):
            part = await child.stdout.receive_some(1)
            assert part, f"the child closed its stdout after {got!r}"
            got += part
    return got.decode().rstrip("\n")


async def everything(child: Child) -> bytes:
    """All that the child prints until it closes its stdout, within 10 s."""
    got = b""
    with trio.fail_after(10):
        while part := await child.stdout.receive_some():
            got += part
    return got


async def until(condition: Callable[[], object], *, within: float = 30.0) -> None:
    """Return as soon as ``condition()`` is true."""
    with trio.fail_after(within):
        while not condition():  # noqa: ASYNC110 - no event tells of a process of another parent
            await trio.sleep(0.005)


def alive(pid: int) -> bool:
    found = proc.stat(pid)
    return found is not None and found.alive


def marked(mark: str) -> Iterator[int]:
    """The processes whose environment holds ``mark``, zombies included while they have one."""
    for process in proc.walk():
        try:
            if mark.encode() in Path(f"/proc/{process.pid}/environ").read_bytes():
                yield process.pid
        except OSError:
            continue


def descriptors() -> set[str]:
    """What this process has open, by number and target; the listing's own descriptor excepted."""
    return {
        f"{name} {target}"
        for name in os.listdir("/proc/self/fd")
        if (target := _target(name)) and not target.endswith("/fd")
    }


@contextmanager
def spare_descriptors(count: int) -> Generator[None]:
    """Within it, this process can open that many descriptors more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(entry.partition(" ")[0]) for entry in descriptors())
    with ExitStack() as filling:
        while (gap := filling.enter_context(open("/dev/null")).fileno()) < highest:
            pass
        resource.setrlimit(resource.RLIMIT_NOFILE, (gap + 1 + count, limits[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def _target(name: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{name}")
    except FileNotFoundError:
        return ""


async def at_once(count: int, fn: Callable[[], Awaitable[None]]) -> None:
    """Run ``fn`` in that many tasks."""
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(fn)
