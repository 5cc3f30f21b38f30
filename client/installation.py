"""``roost daemon install`` and ``uninstall``: the user's units in place and enabled, or gone; both may be repeated."""

from collections.abc import Mapping
from pathlib import Path

from ..protocol.errors import DaemonRunning, DaemonUnreachable, InvalidSettings
from ..protocol.paths import SOCKET_VARIABLE, STATE_VARIABLE
from .invocation import Invocation
from .launch import connect
from .paths import find
from .status import FAILED, OK
from .systemctl import STOPPING, Systemctl
from .units import SERVICE, SOCKET, UserUnits

LOST = 9
"""The exit status of a roostd that could not save everything."""


def install(invocation: Invocation) -> int:
    """Put the units in place, start the socket, and look at lingering.

    Raises:
        SystemdUnavailable, UnitInTheWay.
        InvalidSettings: a state directory or a socket is named that the units do not have, or there is no place.
        DaemonRunning: one runs that systemd did not start, and it has the state.
    """
    systemctl, units, writer = Systemctl(invocation.environ), UserUnits(invocation.environ), invocation.writer
    systemctl.check()
    _refuse_named(invocation.environ)
    units.present()
    if systemctl.show(SOCKET, "ActiveState") != "active":
        _refuse_another(invocation)
    changed = units.put()
    systemctl.do("daemon-reload")
    systemctl.do("enable", "--now", SOCKET)
    lingers = systemctl.lingers()
    if writer.json:
        writer.record({"folder": str(units.folder), "changed": [str(path) for path in changed], "lingers": lingers})
        return OK
    for path in changed:
        writer.say(f"changed {path}")
    writer.say(f"{SOCKET} is enabled and listens; the first roost command starts the daemon")
    if changed and systemctl.show(SERVICE, "ActiveState") == "active":
        writer.advise(f"the daemon still runs as it was started; `systemctl --user restart {SERVICE}` renews it")
    if not lingers:
        writer.advise("it ends when you log out; `loginctl enable-linger` lets it go on, and start at boot")
    return OK


def uninstall(invocation: Invocation) -> int:
    """Stop the daemon and take away what :func:`install` has put in place. Exit status 1 if the stop lost something.

    Raises:
        SystemdUnavailable, UnitInTheWay, InvalidSettings
    """
    systemctl, units, writer = Systemctl(invocation.environ), UserUnits(invocation.environ), invocation.writer
    systemctl.check()
    lost = _stopped(systemctl, units.present())
    gone = units.take()
    if gone:
        systemctl.do("daemon-reload")
    if writer.json:
        writer.record({"folder": str(units.folder), "removed": [str(path) for path in gone], "lost": lost})
    for path in [] if writer.json else gone:
        writer.say(f"removed {path}")
    if not gone:
        writer.advise(f"there is nothing of roost's in {units.folder}")
    if lost:
        writer.warn(f"roost: not every state could be saved; see `journalctl --user -u {SERVICE}`")
    return FAILED if lost else OK


def _stopped(systemctl: Systemctl, present: list[Path]) -> bool:
    """End what runs of the units of which something is there, and disable them; whether the stop lost something.

    Where an uninstall was cut short only some of them are there, and systemctl disables no other.
    """
    if not present:
        return False
    running = [name for name in (SOCKET, SERVICE) if systemctl.show(name, "ActiveState") not in ("inactive", "failed")]
    if running:
        systemctl.do("stop", *running, patience=STOPPING)
    if there := [path.name for path in present if path.name in (SOCKET, SERVICE)]:
        systemctl.do("disable", *there)
    return SERVICE in running and systemctl.show(SERVICE, "ExecMainStatus") == str(LOST)


def _refuse_named(environ: Mapping[str, str]) -> None:
    """The socket unit listens in one place, where a command that is told another would not look."""
    for variable in (STATE_VARIABLE, SOCKET_VARIABLE):
        if path := environ.get(variable):
            text = f"{variable} (or its option) names {path}, and the units are for the daemon that is found without"
            raise InvalidSettings(f"{text}; unset it and install again", variable=variable, path=path)


def _refuse_another(invocation: Invocation) -> None:
    try:
        daemon = connect(find(invocation.environ)[0])
    except DaemonUnreachable:
        return
    pid = daemon.call("daemon.status", {})["pid"]
    daemon.close()
    text = f"roostd (pid {pid}) runs, and systemd did not start it; `roost daemon stop`, then install again"
    raise DaemonRunning(text, pid=pid)
