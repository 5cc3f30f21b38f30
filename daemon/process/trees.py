"""Whose each process is: found by what it descends from, the session and group it is in, and its environment's mark.

Pure: a table of processes in, the trees of the sessions out.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from .proc import Identity, Mark, Stat

DAEMON = b"roostd"
"""What a roostd calls itself to the kernel."""


class Root(NamedTuple):
    """A child that a roostd has started for a session.

    Attributes:
        lived: until when that roostd kept it, and with it its pid from being given out again, in clock ticks since
            boot; None: until now.
    """

    session: str
    child: Identity
    lived: int | None = None


class Census(NamedTuple):
    """One full look at all processes.

    Attributes:
        members: session → what lives of its children's trees.
        strays: what descends from this daemon and of which nobody can tell whose it is.
        whole: all that was listed could be read, and no orphan of ours ended meanwhile; else one of ours, or what it
            started, may be there and not in it.
    """

    members: dict[str, list[Stat]]
    strays: list[Stat]
    whole: bool = True

    def of(self, sessions: Iterable[str]) -> list[Stat]:
        """What lives of these sessions' trees."""
        return [process for session in sessions for process in self.members.get(session, [])]


def census(
    there: Mapping[int, Stat],
    marks: Mapping[int, Mark],
    roots: Collection[Root],
    *,
    self: int,
    sockets: frozenset[str],
    private: Collection[int] = (),
    keepers: Collection[tuple[int, int]] = (),
    older: Collection[tuple[int, int]] = (),
) -> Census:
    """Sort what is there by whose it is.

    A roostd that leads a session of its own belongs to nobody, whoever started it, and so does what it started, but not
    what bears our mark and came to it as an orphan. What calls itself roostd and bears our mark is none: who starts one
    hands it no mark. A keeper that lives has all that is below it: then our records are copies of its own.

    Args:
        there: every process by pid, zombies included. marks: of those that have one.
        self: this daemon's pid; it and its ancestors are nobody's. sockets: those whose marks are ours.
        private: more that belong to nobody, with what they started.
        keepers: pid and start time of the roostds that recorded the roots, if those were others.
        older: pid and start time of what was below this daemon when it began: nobody's, unless it is known to be ours.
    """
    first = _first(there, marks, roots, sockets)
    living = _living(there, keepers) - {self}
    daemons = {p.pid for p in there.values() if p.comm == DAEMON and p.sid == p.pid} - first.keys() - {self}
    daemons |= _living(there, older) - first.keys()
    apart = _below(there, daemons, but=first.keys()) | _below(there, living | {*private}) | _lineage(there, self)
    owner = {pid: session for pid, session in first.items() if pid not in apart}
    _spread(there, owner, apart, _numbers(there, first, roots))
    members: dict[str, list[Stat]] = {}
    for pid, session in owner.items():
        if there[pid].alive:
            members.setdefault(session, []).append(there[pid])
    strays = _below(there, {self}) - {self} - owner.keys() - apart
    return Census(members, [there[pid] for pid in sorted(strays) if there[pid].alive])


def _living(there: Mapping[int, Stat], those: Iterable[tuple[int, int]]) -> set[int]:
    return {pid for pid, began in those if pid in there and there[pid].alive and there[pid].start_time == began}


def _recorded(there: Mapping[int, Stat], roots: Iterable[Root]) -> dict[int, str]:
    return {
        child.pid: session
        for session, child, _ in roots
        if child.pid in there and there[child.pid].start_time == child.start_time
    }


def _lineage(there: Mapping[int, Stat], self: int) -> set[int]:
    """This process and its ancestors."""
    found: set[int] = set()
    while self in there:
        found.add(self)
        self = there[self].ppid
    return found


def _below(there: Mapping[int, Stat], tops: set[int], but: Collection[int] = ()) -> set[int]:
    """These processes and all their descendants, ``but`` some and theirs."""
    found = set(tops)
    while more := {p.pid for p in there.values() if p.ppid in found and p.pid not in but} - found:
        found |= more
    return found


def _first(
    there: Mapping[int, Stat], marks: Mapping[int, Mark], roots: Iterable[Root], sockets: frozenset[str]
) -> dict[int, str]:
    """Those that are known by themselves: the recorded children, and those that bear our mark."""
    marked = {pid: mark.session for pid, mark in marks.items() if mark.daemon in sockets and pid in there}
    return marked | _recorded(there, roots)


def _numbers(there: Mapping[int, Stat], first: Mapping[int, str], roots: Iterable[Root]) -> dict[int, tuple[str, int]]:
    """Session and group number → whose it is, and since when.

    A number is not given out again while a session or a group bears it: a leader that is another one ends the proof.
    Where the leader is gone, a member is the proof that bears our mark, or began while the number was kept.
    """
    numbers: dict[int, tuple[str, int]] = {}
    for session, child, lived in roots:
        if child.pid in there:
            proven = there[child.pid].start_time == child.start_time
        else:
            members = (p for p in there.values() if child.sid in (p.sid, p.pgid))
            proven = lived is None or any(first.get(p.pid) == session or p.start_time <= lived for p in members)
        if proven:
            numbers[child.sid] = (session, child.start_time)
    return numbers


def _spread(
    there: Mapping[int, Stat], owner: dict[int, str], apart: set[int], numbers: dict[int, tuple[str, int]]
) -> None:
    """Give to each session what descends from its processes, or is in a session or a group that one of them leads."""
    found = dict(owner)
    while True:
        for pid, session in found.items():
            process = there[pid]
            if pid in (process.sid, process.pgid):
                numbers.setdefault(pid, (session, process.start_time))
        found = {
            process.pid: heir
            for process in there.values()
            if process.pid not in owner
            and process.pid not in apart
            and (heir := _heir(process, owner, numbers)) is not None
        }
        if not found:
            return
        owner |= found


def _heir(process: Stat, owner: Mapping[int, str], numbers: Mapping[int, tuple[str, int]]) -> str | None:
    if process.ppid in owner:
        return owner[process.ppid]
    for number in (process.sid, process.pgid):
        if (known := numbers.get(number)) and process.start_time >= known[1]:
            return known[0]
    return None
