"""A cgroup for each session below the one that was delegated to this daemon: its limits, and a sure end.

All of it blocks, for a millisecond if the kernel is well. What the kernel refuses is a LimitUnenforceable.
"""

import logging
import os
import resource
import select
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from ...protocol.errors import LimitUnenforceable, ProcessesLeft
from ...protocol.model import Limits
from . import delegation
from .launcher import launcher

log = logging.getLogger(__name__)

PREDECESSOR = 5.0
"""Seconds that what is left in a session's cgroup has to die before the cgroup is made anew."""
PERIOD = 100_000
"""Microseconds in which ``cpu_max`` is shared out; the kernel takes no share below a hundredth."""
MOST_PIDS = 4_194_304
"""The kernel knows no more, and takes no larger limit."""


class Cgroup:
    """One session's cgroup. What is in it stays in it, whatever it does to its session, group and environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.procs_path = str(folder / "cgroup.procs")
        """A process enters by writing its pid here."""

    def kill(self) -> None:
        """SIGKILL to all that is in it, at one moment: nothing can be forked past it."""
        with _ours(self.folder), suppress(FileNotFoundError):
            (self.folder / "cgroup.kill").write_text("1")

    def pids(self) -> list[int]:
        """Those in it and in the cgroups that they made below it."""
        found: set[int] = set()
        for folder, _, _ in os.walk(self.folder):
            with suppress(OSError):  # removed meanwhile, or threaded: then they stand in the one above
                found.update(map(int, Path(folder, "cgroup.procs").read_text().split()))
        return sorted(found)

    def wait_empty(self, seconds: float) -> bool:
        """Wait until no process is in it. False: after that many seconds there still was one."""
        deadline = time.monotonic() + seconds
        poll = select.poll()
        try:
            with open(self.folder / "cgroup.events", "rb", buffering=0) as events:
                poll.register(events, select.POLLPRI)
                while b"populated 1" in os.pread(events.fileno(), 4096, 0):
                    if (left := deadline - time.monotonic()) <= 0:
                        return False
                    poll.poll(left * 1000)
        except OSError:
            return not self.folder.exists()
        return True

    def oom_kills(self) -> int:
        """How many of its processes the kernel has killed because its memory limit was reached."""
        try:
            counts = dict(line.split() for line in (self.folder / "memory.events").read_text().splitlines())
        except OSError:
            return 0  # it has no limit of memory, or is gone
        return int(counts.get("oom_kill", 0))

    def remove(self) -> bool:
        """Take it away, and those below it. False: a process is in one of them."""
        try:
            for folder, _, _ in os.walk(self.folder, topdown=False):
                with suppress(FileNotFoundError):
                    os.rmdir(folder)
        except OSError:
            return False
        return True

    def end(self, seconds: float) -> bool:
        """Kill all that is in it and take it away. False: after that many seconds something still was in it."""
        self.kill()
        return self.wait_empty(seconds) and self.remove()


class Cgroups:
    """Makes the sessions' cgroups.

    Attributes:
        enforceable: the names of the limits that a session can have here.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.enforceable = frozenset(delegation.CONTROLLERS[name] for name in delegation.enabled(root)) | {"nofile"}

    def make(self, session_id: str, limits: Limits) -> Cgroup:
        """The session's cgroup, new and empty, with those of ``limits`` that are enforceable.

        Raises:
            LimitUnenforceable: the kernel refuses it.
            ProcessesLeft: what a predecessor left in it does not end.
        """
        cgroup = Cgroup(self.root / session_id)
        with _ours(cgroup.folder):
            emptied = not cgroup.folder.exists() or cgroup.remove() or cgroup.end(PREDECESSOR)
            if not emptied and (pids := cgroup.pids()):
                text = f"processes {pids[:10]} in the cgroup of session {session_id} do not end; look at what hangs"
                raise ProcessesLeft(text, session=session_id, pids=pids[:100], cgroup=str(cgroup.folder))
            cgroup.folder.mkdir()
            try:
                self._limit(cgroup.folder, limits)
            except BaseException:
                cgroup.remove()
                raise
        return cgroup

    def _limit(self, folder: Path, limits: Limits) -> None:
        for name, written in _files(limits).items():
            if name in self.enforceable:
                for file, value in written.items():
                    if file != "memory.swap.max" or (folder / file).exists():
                        (folder / file).write_text(value)

    def left(self) -> list[Cgroup]:
        """Cgroups of sessions that are there already: of a dead predecessor, or of another daemon in the same place."""
        with _ours(self.root):
            return [Cgroup(path) for path in sorted(self.root.iterdir()) if delegation.is_session(path)]


def _files(limits: Limits) -> dict[str, dict[str, str]]:
    """What is written where for each limit that is set."""
    files: dict[str, dict[str, str]] = {}
    if limits.memory_max is not None:
        # Without its swap a limit of memory would only make the disk busy. The kernel chooses whom it kills, mostly
        # the greediest command (no memory.oom.group): an agent can go on from there, a session killed whole cannot.
        files["memory_max"] = {"memory.max": str(limits.memory_max), "memory.swap.max": "0"}
    if limits.pids_max is not None:
        files["pids_max"] = {"pids.max": str(min(limits.pids_max, MOST_PIDS))}
    if limits.cpu_max is not None:
        share = min(max(limits.cpu_max, 0.01), 100_000)
        files["cpu_max"] = {"cpu.max": f"{round(share * PERIOD)} {PERIOD}"}
    return files


def lowered(nofile: int | None) -> int | None:
    """The limit of descriptors that a child can be given: nobody may have more than this daemon may."""
    hardest = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return nofile if nofile is None or hardest == resource.RLIM_INFINITY else min(nofile, hardest)


class Found(NamedTuple):
    """What there is. ``message``: where, and what is missing why; without cgroups, why not."""

    cgroups: Cgroups | None
    message: str


def find(setting: str) -> Found:
    """The cgroups that this daemon may make, as ``daemon.cgroup`` says: ``"auto"``, ``"off"``, or a folder.

    It may move this process: out of the cgroup of a session whose agent started it, and into a leaf of its own.
    """
    try:
        with _ours(Path(setting if setting.startswith("/") else "/sys/fs/cgroup")):
            here = delegation.leave_session(delegation.own())
            if setting == "off":
                return Found(None, 'daemon.cgroup is "off"; set it to "auto" to have limits enforced')
            root = delegation.delegated(here) if setting == "auto" else delegation.named(setting)
            _try(root)
            missing = delegation.hand_down(root, here)
            cgroups = Cgroups(root)
    except LimitUnenforceable as exc:
        log.info("sessions get no cgroup: %s", exc)
        return Found(None, exc.message)
    log.info("sessions get a cgroup in %s, with limits %s", root, ", ".join(sorted(cgroups.enforceable)))
    return Found(cgroups, missing or f"sessions get a cgroup in {root}")


def _try(root: Path) -> None:
    """Raises OSError or LimitUnenforceable unless a process can be put below ``root``, and killed there."""
    probe = Cgroup(root / f"probe-{os.getpid()}")
    probe.folder.mkdir()
    try:
        if not (probe.folder / "cgroup.kill").exists():
            raise LimitUnenforceable("the kernel cannot end a cgroup at once; use Linux 5.14 or newer")
        entered = subprocess.run(
            launcher(["/bin/sh", "-c", ":"], probe.procs_path, None),
            capture_output=True,
            text=True,
            timeout=PREDECESSOR,
        )
        if entered.returncode:
            text = f"no process can be moved into {probe.folder}: {entered.stderr.strip()}"
            raise LimitUnenforceable(f"{text}; name a cgroup above roostd's own in daemon.cgroup", cgroup=str(root))
    finally:
        probe.remove()


@contextmanager
def _ours(folder: Path) -> Generator[None]:
    try:
        yield
    except (OSError, subprocess.SubprocessError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "no process could be started in it"
        text = f'the cgroup {folder} cannot be used: {reason}; look at its owner, or set daemon.cgroup to "off"'
        raise LimitUnenforceable(text, cgroup=str(folder), reason=reason) from exc
