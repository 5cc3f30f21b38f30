"""supervisord: asked by XML-RPC over one kept connection."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from . import probe

SETTINGS = """
[supervisord]
nodaemon = true
logfile = {directory}/supervisord.log
pidfile = {directory}/supervisord.pid
[unix_http_server]
file = {directory}/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl = unix://{directory}/supervisor.sock
"""
PROGRAM = """
[program:p{number}]
command = {command}
startsecs = {startsecs}
stopasgroup = true
killasgroup = true
stdout_logfile = NONE
stderr_logfile = NONE
"""
"""``asgroup``: the best that it can do about what a child starts."""


def settings(directory: Path, commands: list[str]) -> str:
    """What sleeps runs at once; how long anything else has to run until it counts is left as it is by default."""
    return SETTINGS.format(directory=directory) + "".join(
        PROGRAM.format(number=number, command=command, startsecs=0 if command.startswith("sleep") else 1)
        for number, command in enumerate(commands)
    )


def connected(directory: Path) -> Any:
    transport = SupervisorTransport(None, None, f"unix://{directory}/supervisor.sock")
    return ServerProxy("http://127.0.0.1", transport=transport).supervisor


def states(server: Any) -> list[str]:
    return [child["statename"] for child in server.getAllProcessInfo()]


def tool(name: str, directory: Path) -> list[str]:
    return [str(Path(sys.executable).with_name(name)), "-c", str(directory / "supervisord.conf")]


@contextmanager
def supervisord(directory: Path, commands: list[str]) -> Generator[subprocess.Popen[bytes]]:
    (directory / "supervisord.conf").write_text(settings(directory, commands))
    with probe.daemon(tool("supervisord", directory), directory) as process:
        yield process


@contextmanager
def run(commands: list[str]) -> Generator[probe.Running]:
    directory = probe.arguments()[0]
    with supervisord(directory, commands) as process:
        # What is asked before it listens breaks the connection for good: each request has its own.
        yield probe.Running(
            process.pid,
            lambda: connected(directory).startAllProcesses(),
            lambda: connected(directory).stopAllProcesses(),
            lambda: states(connected(directory)),
        )


def main() -> None:
    directory, children, _ = probe.arguments()
    with probe.nights(1) as (night,), supervisord(directory, [f"sleep {night}"] * children) as process:
        probe.wait_until(lambda: states(connected(directory)).count("RUNNING") == children)
        server = connected(directory)
        figures = probe.round_trips(process.pid, lambda: server.getProcessInfo("p0"), server.getAllProcessInfo)
        figures |= probe.command_line([*tool("supervisorctl", directory), "status"])
        figures["stats"] = "cannot tell"
        figures |= probe.rest(process)
    probe.report(figures | probe.supervision(run, "RUNNING"))


if __name__ == "__main__":
    main()
