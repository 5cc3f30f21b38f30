"""A cgroup for each owner below the one that was delegated to this daemon, and in it a leaf for each of its children.

The owner's cgroup has the limits, so that they hold for all its children together; a child enters its leaf, so that it
ends alone. All of it blocks, for a millisecond if the kernel is well. A refusal of the kernel is a LimitUnenforceable.
"""

import logging
import os
import resource
import select
import subprocess
import time
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from ...protocol.errors import LimitUnenforceable, ProcessesLeft
from ...protocol.model import Limits
from . import delegation, proc
from .launcher import launcher
from .proc import Tree

log = logging.getLogger(__name__)

PREDECESSOR = 5.0
"""Seconds that leftovers in an owner's cgroup have to die before a child may enter it."""
MOMENT = 0.05
"""Seconds that killed processes of a cgroup have to die before other processes are looked for."""
TRIES = 100
"""Attempts to make a leaf while the owner's last child before takes the owner's cgroup away."""
PERIOD = 100_000
"""Microseconds in which ``cpu_max`` is shared out; the kernel takes no share below a hundredth."""
MOST_PIDS = 4_194_304
"""The kernel's largest number of processes; it takes no larger limit."""


class Cgroup:
    """One cgroup. A process in it stays in it, whatever it does to its session, group and environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.procs_path = str(folder / "cgroup.procs")
        """A process enters by writing its pid here."""

    def kill(self) -> None:
        """SIGKILL to all that is in it, at one moment: nothing can be forked past it."""
        with _ours(self.folder), suppress(FileNotFoundError):
            (self.folder / "cgroup.kill").write_text("1")

    def kill_direct(self) -> None:
        """SIGKILL to the processes that are in it and in no cgroup below it."""
        for pid in self.direct():
            if found := proc.stat(pid):
                proc.kill(found)

    def direct(self) -> list[int]:
        """The pids of the processes that are in it and in no cgroup below it."""
        try:
            return list(map(int, Path(self.procs_path).read_text().split()))
        except OSError:  # removed meanwhile, or threaded: then its processes stand in the cgroup above
            return []

    def pids(self) -> list[int]:
        """The pids of all processes in it, and in the cgroups that they made below it."""
        folders = [Path(folder) for folder, _, _ in os.walk(self.folder)]
        return sorted({pid for folder in folders for pid in Cgroup(folder).direct()})

    def below(self) -> "list[Cgroup]":
        """The cgroups in it."""
        try:
            return [Cgroup(path) for path in sorted(self.folder.iterdir()) if path.is_dir()]
        except OSError:
            return []

    def wait_empty(self, seconds: float) -> bool:
        """Wait until no process is in it. False: after that many seconds a process still was in it."""
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
        """The number of its processes that the kernel has killed because a limit of memory was reached."""
        # A leaf has no count of its own where the controller could not be handed down to it.
        counting = self if (self.folder / "memory.events").exists() else Cgroup(self.folder.parent)
        try:
            lines = (counting.folder / "memory.events").read_text().splitlines() if self.folder.exists() else []
        except OSError:
            return 0  # it has no limit of memory
        return int(dict(line.split() for line in lines).get("oom_kill", 0))

    def remove(self) -> bool:
        """Take it away, and the cgroups below it. False: a process is in one of them."""
        try:
            for folder, _, _ in os.walk(self.folder, topdown=False):
                with suppress(FileNotFoundError):
                    os.rmdir(folder)
        except OSError:
            return False
        return True

    def end(self, seconds: float) -> bool:
        """Kill all that is in it and take it away. False: after that many seconds a process still was in it."""
        self.kill()
        return self.wait_empty(seconds) and self.remove()


class Cgroups:
    """Makes the cgroups of owners, and the leaves of their children.

    Attributes:
        enforceable: the names of the limits that an owner can have here.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.enforceable = frozenset(delegation.CONTROLLERS[name] for name in delegation.enabled(root)) | {"nofile"}

    def make(self, tree: Tree, limits: Limits, used: Callable[[], Collection[str]]) -> Cgroup:
        """A child's leaf, new and empty; its owner has the enforceable ones of ``limits`` from now on.

        Args:
            used: the names of the owner's leaves that have a child, or are about to; this one is among them.

        Raises:
            LimitUnenforceable: the kernel refuses it.
            ProcessesLeft: leftovers of a dead daemon in the owner's cgroup do not end.
        """
        owner = Cgroup(self.root / tree.owner)
        leaf = Cgroup(owner.folder / tree.leaf)
        with _ours(owner.folder):
            self._emptied(tree.owner, used)
            _made(leaf.folder)
            try:
                self._limit(owner.folder, limits)
            except BaseException:
                self.remove(tree)
                raise
        return leaf

    def remove(self, tree: Tree) -> None:
        """Take a child's leaf away, and with the last leaf the owner's cgroup."""
        if Cgroup(self.root / tree.owner / tree.leaf).remove():
            with suppress(OSError):  # another child's leaf is in it
                os.rmdir(self.root / tree.owner)

    def kill_rest(self, owner: str, used: Callable[[], Collection[str]]) -> list[int]:
        """Kill all that an owner's cgroup holds outside of its used leaves; the pids of what has not ended by then.

        Args:
            used: see :meth:`make`; asked after the leaves were listed, so that no new one is taken for a leftover.
        """
        mine = Cgroup(self.root / owner)
        below = mine.below()
        spared = used()
        rest = [cgroup for cgroup in below if cgroup.folder.name not in spared]
        for cgroup in rest:
            cgroup.kill()
        mine.kill_direct()
        for cgroup in rest:
            if cgroup.wait_empty(MOMENT):
                cgroup.remove()
        return sorted({*mine.direct(), *(pid for cgroup in rest for pid in cgroup.pids())})

    def leftovers(self) -> list[Cgroup]:
        """The owners' cgroups that are there: of a dead daemon, or of another daemon in the same place."""
        with _ours(self.root):
            return [Cgroup(path) for path in sorted(self.root.iterdir()) if delegation.is_owner(path)]

    def _emptied(self, owner: str, used: Callable[[], Collection[str]]) -> None:
        """End the leftovers of a dead daemon in the cgroup of an owner that has no other child."""
        deadline = time.monotonic() + PREDECESSOR
        while len(used()) <= 1 and (self.root / owner).exists() and (pids := self.kill_rest(owner, used)):
            if time.monotonic() > deadline:
                text = f"processes {pids[:10]} in the cgroup of {owner} do not end; look at what hangs"
                folder = str(self.root / owner)
                raise ProcessesLeft(text, session=owner, pids=pids[:100], cgroup=folder)
            time.sleep(MOMENT / 5)

    def _limit(self, folder: Path, limits: Limits) -> None:
        for name, written in _files(limits).items():
            if name in self.enforceable:
                for file, value in written.items():
                    # Without a limit nothing is written but where an earlier child may have had one.
                    if (folder / file).exists() or (value != NONE and file != "memory.swap.max"):
                        (folder / file).write_text(value)
        if "memory_max" in self.enforceable:
            with suppress(OSError):  # a process is in the owner's own: then its kills are counted for all children
                (folder / "cgroup.subtree_control").write_text("+memory")


def _made(leaf: Path) -> None:
    """Make a leaf, and its owner's cgroup if that is missing: another child's end may just be taking that away."""
    for _ in range(TRIES):
        leaf.parent.mkdir(exist_ok=True)
        try:
            return leaf.mkdir()
        except FileNotFoundError:
            continue
    leaf.mkdir()


NONE = "max"
"""The kernel's word for no limit."""


def _files(limits: Limits) -> dict[str, dict[str, str]]:
    """The text for each file of each limit."""
    # Without its swap a limit of memory would only make the disk busy. The kernel chooses the process to kill, mostly
    # the greediest command (no memory.oom.group): an agent can go on from there, a session killed whole cannot.
    memory = NONE if limits.memory_max is None else str(limits.memory_max)
    pids = NONE if limits.pids_max is None else str(min(limits.pids_max, MOST_PIDS))
    share = None if limits.cpu_max is None else min(max(limits.cpu_max, 0.01), 100_000)
    return {
        "memory_max": {"memory.max": memory, "memory.swap.max": NONE if limits.memory_max is None else "0"},
        "pids_max": {"pids.max": pids},
        "cpu_max": {"cpu.max": NONE if share is None else f"{round(share * PERIOD)} {PERIOD}"},
    }


def lowered(nofile: int | None) -> int | None:
    """The limit of descriptors that a child can be given: it may have no more than this daemon may."""
    hardest = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return nofile if nofile is None or hardest == resource.RLIM_INFINITY else min(nofile, hardest)


class Found(NamedTuple):
    """The cgroups that there are. ``message``: where, and what is missing why; without cgroups, why there are none."""

    cgroups: Cgroups | None
    message: str


def find(setting: str) -> Found:
    """The cgroups that this daemon may make, as ``daemon.cgroup`` says: ``"auto"``, ``"off"``, or a folder.

    It may move this process: out of the cgroup of the session whose agent started it, and into one of its own.
    """
    try:
        with _ours(Path(setting if setting.startswith("/") else "/sys/fs/cgroup")):
            here = delegation.leave_owner(delegation.own())
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
