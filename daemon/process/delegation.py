"""Where this daemon may make cgroups: the mount, its own place in it, and whether that place was given to it."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from ...protocol.errors import LimitUnenforceable

CONTROLLERS = {"memory": "memory_max", "pids": "pids_max", "cpu": "cpu_max"}
"""The kernel's controllers, and the limit that each enforces."""
LEAF = "daemon"
"""The name of the daemon's own cgroup: a cgroup that hands controllers down may hold no process itself."""
_OWNER = re.compile(r"[smh]-[a-z2-7]{16}")


class Mount(NamedTuple):
    """A mount of cgroup v2: it shows the tree from ``root`` on, at ``point``."""

    root: str
    point: str


def mounts(mountinfo: str) -> list[Mount]:
    """The mounts of cgroup v2 in the text of /proc/PID/mountinfo."""
    rows = [line.partition(" - ") for line in mountinfo.splitlines()]
    found = [left.split() for left, _, right in rows if right.startswith("cgroup2 ")]
    return [Mount(_unescaped(fields[3]), _unescaped(fields[4])) for fields in found]


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), path)


def folder(cgroup: str, mounted: list[Mount]) -> Path | None:
    """The folder of the cgroup v2 that the text of /proc/PID/cgroup names; None: no mount shows it."""
    own = next((line[3:] for line in cgroup.splitlines() if line.startswith("0::")), None)
    for mount in mounted if own is not None else ():
        below = os.path.relpath(str(own), mount.root)
        if not below.startswith(".."):
            return Path(os.path.normpath(f"{mount.point}/{below}"))
    return None


def own() -> Path:
    """The folder of the cgroup that this process is in.

    Raises:
        LimitUnenforceable: this host has no cgroup v2, or hides it.
    """
    found = folder(Path("/proc/self/cgroup").read_text(), mounts(Path("/proc/self/mountinfo").read_text()))
    if found is None:
        raise _refused("cgroup version 2 is not mounted here; have the host boot with it")
    return found


def is_owner(cgroup: Path) -> bool:
    """Whether it bears the id of a session, a tool server or a hook."""
    return _OWNER.fullmatch(cgroup.name) is not None


def leave_owner(here: Path) -> Path:
    """The cgroup of this daemon, after it has left that of a session if it was in one, or in a leaf of one.

    A daemon that an agent started is no part of that agent's session and must not end with it.

    Raises:
        LimitUnenforceable: it cannot be left.
    """
    owner = next(filter(is_owner, (here, *here.parents)), None)
    if owner is None:
        return here
    leaf = owner.parent / LEAF
    try:
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(os.getpid()))
    except OSError as exc:
        raise _refused(
            f"{owner} is that of a session, a tool server or a hook, and cannot be left: {exc.strerror}"
        ) from exc
    return leaf


def delegated(here: Path) -> Path:
    """``here``, if it was given to this daemon, by systemd or because it belongs to the daemon's user.

    Raises:
        LimitUnenforceable: it was not given to this daemon.
    """
    for mark in ("user.delegate", "trusted.delegate"):
        try:
            if os.getxattr(here, mark) == b"1":
                return here
        except OSError:
            continue  # an old kernel, not marked, or not to be read
    mine = os.geteuid() and here.stat().st_uid == os.geteuid()
    if not (mine and os.access(here, os.W_OK) and os.access(here / "cgroup.procs", os.W_OK)):
        raise _refused(
            f"the cgroup {here} was not delegated to roostd; run it as a service with Delegate=yes "
            "(`roost daemon install`), or name one that it may use in daemon.cgroup"
        )
    return here


def named(setting: str) -> Path:
    """The cgroup that ``daemon.cgroup`` names, made if only its last part is missing.

    Raises:
        LimitUnenforceable: it is no cgroup, or cannot be made.
    """
    path = Path(setting)
    try:
        path.mkdir(exist_ok=True)
    except OSError as exc:
        raise _refused(f"the cgroup {path} of daemon.cgroup cannot be made: {exc.strerror}") from exc
    if not (path / "cgroup.subtree_control").exists():
        raise _refused(f"daemon.cgroup names {path}, which is no cgroup of version 2; name one below {own()}")
    return path


def hand_down(root: Path, here: Path) -> str:
    """Enable in ``root`` its controllers for the cgroups below it; the reason why some are missing, or nothing.

    The daemon moves itself into its leaf first. Other processes in ``root`` are a reason to go without.
    """
    there = set((root / "cgroup.controllers").read_text().split())
    wanted = sorted(there & CONTROLLERS.keys() - enabled(root))
    if wanted and (others := _processes(root) - {os.getpid()}):
        pids = ", ".join(map(str, sorted(others)[:5]))
        return f"other processes ({pids}) are in the cgroup {root}; start roostd in one of its own, as a service"
    if wanted and here == root:
        (root / LEAF).mkdir(exist_ok=True)
        (root / LEAF / "cgroup.procs").write_text(str(os.getpid()))
    for controller in wanted:
        try:
            (root / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError as exc:
            return f"the controller {controller} cannot be enabled in {root}: {exc.strerror}"
    if missing := sorted(CONTROLLERS.keys() - there):
        return f"the cgroup {root} has no controller {', '.join(missing)}; have the level above hand it down"
    return ""


def enabled(root: Path) -> frozenset[str]:
    """The controllers that the cgroups below ``root`` have."""
    return frozenset((root / "cgroup.subtree_control").read_text().split()) & CONTROLLERS.keys()


def _processes(cgroup: Path) -> set[int]:
    return {int(pid) for pid in (cgroup / "cgroup.procs").read_text().split()}


def _refused(text: str) -> LimitUnenforceable:
    return LimitUnenforceable(text)
