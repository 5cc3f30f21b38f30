"""The kernel's facts about processes, from /proc."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import NamedTuple

CHILD_MARK = b"ROOST_CHILD="
SESSION_MARK = b"ROOST_SESSION="
DAEMON_MARK = b"ROOST_DAEMON="
MARKS = (CHILD_MARK, SESSION_MARK, DAEMON_MARK)

TRIES, PAUSE = 3, 0.0005
"""How often an environment is read that is empty in the middle of an exec, and seconds in between."""


class Unread(Exception):
    """The mark of a process cannot be read now: the process has just ended, or is in the middle of an exec."""


class Stat(NamedTuple):
    """A process as one line of /proc/PID/stat tells it.

    Attributes:
        start_time: in clock ticks since boot.
        size: bytes of its memory; 0 if its first thread has ended, and for a thread of the kernel.
    """

    pid: int
    comm: bytes
    state: str
    ppid: int
    pgid: int
    sid: int
    tty: int
    threads: int
    start_time: int
    size: int

    @property
    def alive(self) -> bool:
        """The process is neither a zombie nor about to vanish."""
        # A process of which only the first thread has ended looks like a zombie, and runs on.
        return self.state not in "ZX" or self.threads > 1


class Identity(NamedTuple):
    """The facts that tell a process from every other one there was. ``start_time`` in clock ticks since boot."""

    pid: int
    start_time: int
    boot_id: str
    pgid: int
    sid: int

    @classmethod
    def of(cls, process: Stat) -> "Identity":
        return cls(process.pid, process.start_time, boot_id(), process.pgid, process.sid)


class Tree(NamedTuple):
    """The name of a child's tree: its owner's id, and the leaf below it. Mark, cgroup and record bear it.

    The leaf is empty for a process that belongs to the owner and to no particular child.
    """

    owner: str
    leaf: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.leaf}"


class Mark(NamedTuple):
    """The mark that roostd puts into the environment of each child: the name of its tree, and the daemon's socket."""

    tree: Tree
    daemon: str


def stat(pid: int) -> Stat | None:
    """None: there is no such process, or it is hidden from this one."""
    try:
        name, field = _stat(f"/proc/{pid}")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return Stat(
        pid,
        name,
        field[0].decode(),
        int(field[1]),
        int(field[2]),
        int(field[3]),
        int(field[4]),
        int(field[17]),
        int(field[19]),
        int(field[20]),
    )


def itself() -> Identity:
    """This process."""
    found = stat(os.getpid())
    assert found is not None, "/proc is not mounted"
    return Identity.of(found)


def lives(pid: int, start_time: int) -> bool:
    """Whether the process that began at ``start_time`` runs; its pid alone may be another process's now."""
    found = stat(pid)
    return found is not None and found.alive and found.start_time == start_time


def _stat(folder: str) -> tuple[bytes, list[bytes]]:
    """The name, and the fields behind it (proc_pid_stat(5), where the first of them is the third)."""
    with open(f"{folder}/stat", "rb", buffering=0) as file:
        line = file.read()
    # The name between the parentheses is the program's own choice: it may hold blanks and parentheses.
    begin, end = line.index(b"(") + 1, line.rindex(b")")
    return line[begin:end], line[end + 2 :].split()


def gone(pid: int) -> bool:
    """Whether there is no such process any more; a process that is only hidden from this one is there."""
    return not os.path.exists(f"/proc/{pid}")


def pids() -> set[int]:
    """The pids of all processes."""
    return {int(name) for name in os.listdir("/proc") if name.isdecimal()}


def walk() -> Iterator[Stat]:
    """All processes. Blocking: some milliseconds for a thousand."""
    for pid in pids():
        if found := stat(pid):
            yield found


def mark(process: Stat) -> Mark | None:
    """The mark in a process's environment; None if it has none, or if this process may not read it.

    Blocking, for ever where the process hangs in the kernel while it changes its memory.

    Raises:
        Unread: the environment cannot be read now.
    """
    try:
        folder = _folder(process)
        for _ in range(TRIES):
            # Opened again each time: an open file shows the memory of before the exec.
            with open(f"{folder}/environ", "rb", buffering=0) as file:
                environment = file.readall()
            if environment or _bare(folder):
                return _marked(environment)
            time.sleep(PAUSE)
    except PermissionError:
        return None
    except OSError as exc:
        raise Unread from exc
    raise Unread


def _folder(process: Stat) -> str:
    """The folder where its memory is read: once the first thread has ended, only the other threads have memory."""
    folder = f"/proc/{process.pid}"
    threads = map(int, os.listdir(f"{folder}/task")) if not process.size else ()
    last = max(threads, default=0)  # none are listed if the process goes in that moment
    return f"{folder}/task/{last}" if last else folder


def _bare(folder: str) -> bool:
    """Its environment is empty for good: its exec is over, after which its code has a place (``startcode``)."""
    field = _stat(folder)[1]
    return field[23] != b"0" and field[47] == field[48]


def _marked(environment: bytes) -> Mark | None:
    if DAEMON_MARK not in environment:
        return None
    variables = environment.split(b"\0")
    daemon = _value(variables, DAEMON_MARK)
    owner, _, leaf = _value(variables, CHILD_MARK).partition("/")
    # Children of an older roostd have no leaf, nor has a program to which an agent gave a part of its environment.
    tree = Tree(owner, leaf) if owner else Tree(_value(variables, SESSION_MARK), "")
    return Mark(tree, daemon) if tree.owner and daemon else None


def _value(variables: list[bytes], name: bytes) -> str:
    found = next((variable for variable in variables if variable.startswith(name)), name)
    return os.fsdecode(found[len(name) :])


def is_login_shell(process: Stat) -> bool:
    """Whether a person sits at it: it has a terminal, and its name begins with the dash that log-in programs give."""
    if not process.tty:
        return False
    try:
        with open(f"/proc/{process.pid}/cmdline", "rb", buffering=0) as file:
            return file.read(1) == b"-"
    except OSError:
        return False


def ticks(at: int) -> int:
    """A unix time in milliseconds as clock ticks since boot, by the wall clock as it goes now."""
    now = time.clock_gettime(time.CLOCK_BOOTTIME) - (time.time() - at / 1000)
    return int(now * os.sysconf("SC_CLK_TCK"))


@cache
def boot_id() -> str:
    """The kernel's name for this boot: pids and start times of another one mean nothing."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def kill(process: Stat) -> None:
    """SIGKILL to this very process, never to another one with its pid; nothing if it is gone or may not be killed."""
    with suppress(ProcessLookupError, PermissionError):
        descriptor = os.pidfd_open(process.pid)
        try:
            now = stat(process.pid)
            if now is not None and now.start_time == process.start_time:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)


def kill_group(pgid: int, leader: Stat | None) -> None:
    """SIGKILL to a whole group at once: no member can fork meanwhile.

    Args:
        leader: the process whose pid is the group's number, as it was when the group was seen; None: it was gone. While
            the group lasts no other process is given that number: if another one has it now, the group is gone.
    """
    now = stat(pgid)
    if now is None or (leader is not None and now.start_time == leader.start_time):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pgid, signal.SIGKILL)
