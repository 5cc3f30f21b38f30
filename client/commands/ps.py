"""Show what sessions' processes use: processes, threads, processor time, memory, descriptors, age (daemon.stats)."""

from ..arguments import Parser, add_sessions
from ..connection import CALL_SECONDS
from ..invocation import Invocation, Record
from ..render import processes
from ..status import OK


def arguments(parser: Parser) -> None:
    add_sessions(parser, "*")


def run(invocation: Invocation) -> int:
    invocation.args.no_start = True
    status = OK
    wanted: dict[str | None, str | None] = {}
    if named := invocation.args.sessions:

        def found(result: Record) -> None:
            wanted[result["session"]["id"]] = result["session"]["name"]

        status = invocation.each(named, "session.get", CALL_SECONDS, found)
    used: dict[str | None, list[Record]] = {}
    for one in invocation.call("daemon.stats")["processes"]:
        used.setdefault(one["session"], []).append(one)  # a session may have several children
    if not named:
        wanted[None] = None
        if len(used) > 1:  # a daemon whose database is refused has no sessions, and cannot list them
            wanted |= {one["id"]: one["name"] for one in invocation.pages("session.list", "sessions")}
    _print(invocation, [{**one, "name": name} for known, name in wanted.items() for one in used.get(known, [])])
    for known in wanted if named else ():
        if known not in used:
            invocation.writer.advise(f"session {wanted[known] or known} has no child now")
    return status


def _print(invocation: Invocation, used: list[Record]) -> None:
    writer = invocation.writer
    if writer.json:
        for one in used:
            writer.record(one)
    elif writer.quiet:
        for one in used:
            writer.say(str(one["pid"]))
    elif used:
        writer.table(processes(used))
