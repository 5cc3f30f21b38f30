"""The abilities of this host: looked at once, when the daemon starts."""

import resource

from ...protocol.model import Check, Limits
from .cgroup import Found

PER_SESSION = 6
"""Descriptors that a live session takes: three pipes, a pidfd, and now and then its files."""


def checks(found: Found, *, sessions: int, clients: int) -> list[Check]:
    """How each limit is enforced or why not, which processes may escape, and whether there are descriptors for all.

    Args:
        sessions: the number that may be live; 0: there is no limit, and 256 are taken as many.
        clients: the number that may be connected.
    """
    there = found.cgroups is not None
    enforceable = found.cgroups.enforceable if found.cgroups else frozenset({"nofile"})
    escapes = "what changes or hides its environment, left its session, and lost its parent cannot be found and ended"
    ends = "a session ends with all that it started, whatever that changed"
    return [
        Check(name="cgroup", ok=there, message=found.message),
        *(_limit(name, name in enforceable) for name in Limits.model_fields),
        Check(name="beyond_reach", ok=there, message=ends if there else f"without a cgroup {escapes}; see cgroup"),
        _descriptors(PER_SESSION * (sessions or 256) + clients + 100),
    ]


def _limit(name: str, ok: bool) -> Check:
    if name == "nofile":
        return Check(name=name, ok=True, message="enforced for each process, by its own limit")
    how = "enforced by the session's cgroup"
    return Check(name=name, ok=ok, message=how if ok else "cannot be enforced here; see cgroup")


def _descriptors(needed: int) -> Check:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    ok = most == resource.RLIM_INFINITY or most >= needed
    text = f"the daemon may have {most} descriptors and needs up to {needed} for limits.max_live and limits.clients"
    return Check(name="descriptors", ok=ok, message=text if ok else f"{text}; raise LimitNOFILE, or lower those")
