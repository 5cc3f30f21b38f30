"""The owner of each process, found by its parents, by the session and group it is in, and by its environment's mark.

Pure: a table of processes in, the trees of the children out.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from .proc import Identity, Mark, Stat, Tree

DAEMON = b"roostd"
"""The name by which the kernel knows a roostd."""


class Root(NamedTuple):
    """A child that a roostd has started for an owner: a session, a tool server, a hook.

    Attributes:
        leaf: the child's name below its owner; empty for a child of a roostd that knew only one child of an owner.
        lived: until when that roostd kept the child, and with it its pid from being given out again, in clock ticks
            since boot; None: until now.
    """

    owner: str
    leaf: str
    child: Identity
    lived: int | None = None

    @property
    def tree(self) -> Tree:
        return Tree(self.owner, self.leaf)


class Census(NamedTuple):
    """One full look at all processes.

    Attributes:
        members: the living processes of each tree, by owner and leaf.
        strays: the living processes that descend from this daemon and are in no tree.
        whole: each listed process could be read, and no orphan of this daemon ended meanwhile; else a process may be
            there that is not in the census.
    """

    members: dict[str, dict[str, list[Stat]]]
    strays: list[Stat]
    whole: bool = True

    def tree(self, tree: Tree) -> list[Stat]:
        """The living processes of one child's tree."""
        return self.members.get(tree.owner, {}).get(tree.leaf, [])

    def of(self, owners: Iterable[str]) -> list[Stat]:
        """The living processes of all that belongs to these owners."""
        return [process for owner in owners for tree in self.members.get(owner, {}).values() for process in tree]


def census(
    there: Mapping[int, Stat],
    marks: Mapping[int, Mark],
    roots: Collection[Root],
    *,
    self: int,
    sockets: frozenset[str],
    private: Collection[int] = (),
    older: Collection[tuple[int, int]] = (),
) -> Census:
    """Sort all processes by the tree that they belong to.

    Another roostd that leads a session of its own is in no tree, whichever process started it, nor is anything that it
    started. A process that bears our mark is in its tree all the same: a real roostd bears none, and an orphan may have
    come to another roostd.

    Args:
        there: every process by pid, zombies included. marks: by pid, of the processes that have one.
        self: this daemon's pid; the daemon and its ancestors are in no tree.
        sockets: the daemons whose marks count.
        private: more processes that are in no tree, with all that they started.
        older: pid and start time of the processes that were below this daemon when it began: no strays.
    """
    first = _first(there, marks, roots, sockets)
    daemons = {p.pid for p in there.values() if p.comm == DAEMON and p.sid == p.pid} - first.keys() - {self}
    daemons |= {pid for pid, began in older if _lives(there, pid, began)} - first.keys()
    apart = _below(there, daemons, but=first.keys()) | _below(there, {*private}) | _lineage(there, self)
    known = {pid: tree for pid, tree in first.items() if pid not in apart}
    _spread(there, known, apart, _numbers(there, first, roots))
    members: dict[str, dict[str, list[Stat]]] = {}
    for pid, (owner, leaf) in known.items():
        if there[pid].alive:
            members.setdefault(owner, {}).setdefault(leaf, []).append(there[pid])
    strays = _below(there, {self}) - {self} - known.keys() - apart
    return Census(members, [there[pid] for pid in sorted(strays) if there[pid].alive])


def _lives(there: Mapping[int, Stat], pid: int, began: int) -> bool:
    return pid in there and there[pid].alive and there[pid].start_time == began


def _recorded(there: Mapping[int, Stat], roots: Iterable[Root]) -> dict[int, Tree]:
    return {
        root.child.pid: root.tree
        for root in roots
        if root.child.pid in there and there[root.child.pid].start_time == root.child.start_time
    }


def _lineage(there: Mapping[int, Stat], self: int) -> set[int]:
    """This process and its ancestors."""
    found: set[int] = set()
    while self in there:
        found.add(self)
        self = there[self].ppid
    return found


def _below(there: Mapping[int, Stat], tops: set[int], but: Collection[int] = ()) -> set[int]:
    """These processes and all their descendants, except ``but`` and the descendants of those."""
    found = set(tops)
    while more := {p.pid for p in there.values() if p.ppid in found and p.pid not in but} - found:
        found |= more
    return found


def _first(
    there: Mapping[int, Stat], marks: Mapping[int, Mark], roots: Iterable[Root], sockets: frozenset[str]
) -> dict[int, Tree]:
    """The processes that are known by themselves: recorded children, and processes that bear our mark."""
    marked = {pid: mark.tree for pid, mark in marks.items() if mark.daemon in sockets and pid in there}
    found = marked | _recorded(there, roots)
    return {pid: tree if tree.leaf else _ancestral(there, pid, found) for pid, tree in found.items()}


def _ancestral(there: Mapping[int, Stat], pid: int, found: Mapping[int, Tree]) -> Tree:
    """The tree of a process whose mark names only its owner: that of the owner's child from which it descends."""
    tree = found[pid]
    for above in _lineage(there, pid):
        if above in found and found[above].owner == tree.owner and found[above].leaf:
            return found[above]
    return tree


def _numbers(
    there: Mapping[int, Stat], first: Mapping[int, Tree], roots: Iterable[Root]
) -> dict[int, tuple[Tree, int]]:
    """Session and group number → the tree that it belongs to, and since when.

    A number is not given out again while a session or a group bears it. So a leader that is another process proves that
    the number is not ours any more. Where the leader is gone, a member proves it ours that bears our mark, or that
    began while the number was kept.
    """
    numbers: dict[int, tuple[Tree, int]] = {}
    for root in roots:
        child, lived = root.child, root.lived
        if child.pid in there:
            proven = there[child.pid].start_time == child.start_time
        else:
            members = (p for p in there.values() if child.sid in (p.sid, p.pgid))
            proven = lived is None or any(_proves(p, root, first, lived) for p in members)
        if proven:
            numbers[child.sid] = (root.tree, child.start_time)
    return numbers


def _proves(member: Stat, root: Root, first: Mapping[int, Tree], lived: int) -> bool:
    marked = first.get(member.pid)
    return (marked is not None and marked.owner == root.owner) or member.start_time <= lived


def _spread(
    there: Mapping[int, Stat], known: dict[int, Tree], apart: set[int], numbers: dict[int, tuple[Tree, int]]
) -> None:
    """Give to each tree what descends from its processes, or is in a session or a group that one of them leads."""
    found = dict(known)
    while True:
        for pid, tree in found.items():
            process = there[pid]
            if pid in (process.sid, process.pgid):
                numbers.setdefault(pid, (tree, process.start_time))
        found = {
            process.pid: heir
            for process in there.values()
            if process.pid not in known
            and process.pid not in apart
            and (heir := _heir(process, known, numbers)) is not None
        }
        if not found:
            return
        known |= found


def _heir(process: Stat, known: Mapping[int, Tree], numbers: Mapping[int, tuple[Tree, int]]) -> Tree | None:
    if process.ppid in known:
        return known[process.ppid]
    for number in (process.sid, process.pgid):
        if (found := numbers.get(number)) and process.start_time >= found[1]:
            return found[0]
    return None
