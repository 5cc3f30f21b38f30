"""supervisord: one program with many processes, asked by XML-RPC over one kept connection."""

import sys
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
[program:child]
command = sleep 100000
numprocs = {children}
process_name = %(process_num)03d
startsecs = 0
stdout_logfile = NONE
stderr_logfile = NONE
"""


def connected(directory: Path) -> Any:
    transport = SupervisorTransport(None, None, f"unix://{directory}/supervisor.sock")
    return ServerProxy("http://127.0.0.1", transport=transport).supervisor


def main() -> None:
    directory, children = probe.arguments()
    (directory / "supervisord.conf").write_text(SETTINGS.format(directory=directory, children=children))
    bin = Path(sys.executable).parent
    configured = ["-c", str(directory / "supervisord.conf")]
    with probe.daemon([str(bin / "supervisord"), *configured], directory) as process:

        def running() -> bool:
            found = connected(directory).getAllProcessInfo()
            return [child["statename"] for child in found].count("RUNNING") == children

        probe.wait_until(running)
        server = connected(directory)
        figures = probe.round_trips(process.pid, lambda: server.getProcessInfo("child:000"), server.getAllProcessInfo)
        figures |= probe.command_line([str(bin / "supervisorctl"), *configured, "status"])
        figures["stats"] = "cannot tell"
        probe.report(figures | probe.rest(process))


if __name__ == "__main__":
    main()
