"""The tree that a process stands in: an agent may be a client of the daemon, and then acts for its session."""

import re
from collections.abc import Mapping
from pathlib import Path

from . import proc
from .trees import Root

_OWNER = re.compile(r"/([smh]-[a-z2-7]{16})(?=/|$)", re.MULTILINE)


def owner_of(pid: int, children: Mapping[int, Root], socket: str) -> str | None:
    """The owner in whose cgroup, or of whose children's trees, a process is; None: it stands in none. Blocking.

    Without a cgroup, a process that has changed its environment and its session, and whose parent has ended, stands in
    none.

    Args:
        children: the daemon's own, by pid. socket: the path in their marks.
    """
    owners = {root.owner for root in list(children.values())}
    found = [*_cgroups(pid), *_marked(pid, socket), *_related(pid, dict(children))]
    return next((owner for owner in found if owner in owners), None)


def _cgroups(pid: int) -> list[str]:
    try:
        return _OWNER.findall(Path(f"/proc/{pid}/cgroup").read_text())
    except OSError:
        return []


def _marked(pid: int, socket: str) -> list[str]:
    try:
        process = proc.stat(pid)
        mark = proc.mark(process) if process else None
    except proc.Unread:
        return []
    return [mark.tree.owner] if mark and mark.daemon == socket else []


def _related(pid: int, children: dict[int, Root]) -> list[str]:
    """By the sessions and groups that it and its ancestors are in, and by the ancestors themselves."""
    found: list[str] = []
    while pid > 1 and (process := proc.stat(pid)):
        found += [children[number].owner for number in (pid, process.sid, process.pgid) if number in children]
        pid = process.ppid
    return found
