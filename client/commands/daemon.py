"""The daemon itself (daemon.status, daemon.stats, daemon.reload, daemon.shutdown, engine.list).

status    how it is                    stats     counters, and what is in flight
engines   what a session can run on    start     start it, if it does not run
stop      stop it as SIGTERM does, wait for the end, print its report
restart   stop it and start it again   run       be roostd, in the foreground; its arguments follow --
reload    have it read its settings again, while its sessions go on
install   put the systemd units of this user in place, and enable the socket
uninstall stop the daemon, and take these units away
"""

import os
import sys

from ...protocol.errors import DaemonUnreachable, InvalidParams, ProtocolMismatch
from ..arguments import Parser
from ..frames import nobody
from ..invocation import Invocation
from ..render import age, duration, engines, fields
from ..status import OK
from ..stopping import ended, stop, stop_unheard


def arguments(parser: Parser) -> None:
    parser.add_argument("action", choices=list(_ACTIONS), help="see above")
    parser.add_argument("rest", nargs="*", metavar="ARGUMENT", help="arguments of roostd, for run")


def run(invocation: Invocation) -> int:
    args = invocation.args
    if args.rest and args.action != "run":
        raise InvalidParams(f"roost daemon {args.action} takes no argument {args.rest[0]!r}")
    return _ACTIONS[args.action](invocation)


def _status(invocation: Invocation) -> int:
    invocation.args.no_start = True
    found = invocation.call("daemon.status")
    if invocation.writer.json:
        invocation.writer.record(found)
        return OK
    storage = found["storage"]
    problem = storage["problem"]
    pairs = [
        ("daemon", f"{found['phase']}, version {found['version']}, pid {found['pid']}, up {age(found['uptime'])}"),
        ("state", found["state_directory"]),
        ("socket", found["socket"]),
        ("storage", "ok" if storage["ok"] else f"{problem['name']}: {problem['message']}"),
        ("sessions", f"{found['sessions']} with a child, {found['held']} on hold"),
        ("turns", f"{found['running']} running, {found['queued']} queued"),
        ("clients", f"{found['clients']}, {found['subscriptions']} subscriptions"),
    ]
    invocation.writer.write(fields(pairs))
    return OK


def _stats(invocation: Invocation) -> int:
    invocation.args.no_start = True
    found = invocation.call("daemon.stats")
    if invocation.writer.json:
        invocation.writer.record(found)
        return OK
    flights = [(session, f"driven for {duration(ms)}") for session, ms in found["in_flight"].items()]
    invocation.writer.write(fields([(name, str(n)) for name, n in found["counters"].items()] + flights))
    return OK


def _engines(invocation: Invocation) -> int:
    found = invocation.call("engine.list")["engines"]
    if invocation.writer.json:
        for engine in found:
            invocation.writer.record(engine)
    else:
        invocation.writer.table(engines(found))
    return OK


def _start(invocation: Invocation) -> int:
    invocation.args.no_start = False
    invocation.environ.pop("ROOST_NO_START", None)  # here it is asked for
    found = invocation.call("daemon.status")
    if found["phase"] == "stopping":
        invocation.writer.advise(f"roostd (pid {found['pid']}) is stopping; waiting for its end")
        ended(found["pid"])
        invocation.close()
        found = invocation.call("daemon.status")
    if invocation.writer.json:
        invocation.writer.record(found)
    else:
        invocation.writer.say(f"roostd runs: pid {found['pid']}, socket {found['socket']}")
    invocation.writer.advise("`roost ls` lists the sessions; `roost run PROMPT` begins a new one")
    return OK


def _stop(invocation: Invocation) -> int:
    status = _stopped(invocation)
    invocation.writer.advise("`roost daemon start` starts it again")
    return status


def _stopped(invocation: Invocation) -> int:
    invocation.args.no_start = True
    try:
        return stop(invocation)
    except ProtocolMismatch:
        stop_unheard(invocation)
        return OK
    except DaemonUnreachable as exc:
        if not nobody(exc):
            raise
        invocation.writer.advise(f"no daemon runs at {exc.data.get('path')}")
        return OK


def _reload(invocation: Invocation) -> int:
    invocation.args.no_start = True
    found = invocation.call("daemon.reload")
    if invocation.writer.json:
        invocation.writer.record(found)
        return OK
    invocation.writer.say(f"changed: {', '.join(found['changed']) or 'nothing'}")
    if found["restart"]:
        invocation.writer.warn(f"roost: {', '.join(found['restart'])} change after `roost daemon restart`")
    if found["changed"]:
        text = "what changed of an engine holds for a session's next child"
        invocation.writer.advise(f"{text}; `roost stop S` ends the one it has")
    return OK


def _install(invocation: Invocation) -> int:
    from ..installation import install

    return install(invocation)


def _uninstall(invocation: Invocation) -> int:
    from ..installation import uninstall

    return uninstall(invocation)


def _restart(invocation: Invocation) -> int:
    status = _stopped(invocation)
    invocation.close()
    return _start(invocation) or status


def _run(invocation: Invocation) -> int:
    from ..launch import command

    sys.stdout.flush()
    os.execve(sys.executable, [*command(), *invocation.args.rest], invocation.environ)


_ACTIONS = {
    "status": _status,
    "stats": _stats,
    "engines": _engines,
    "start": _start,
    "stop": _stop,
    "reload": _reload,
    "restart": _restart,
    "run": _run,
    "install": _install,
    "uninstall": _uninstall,
}
