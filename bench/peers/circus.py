"""circus: one watcher for each child, asked by its own client over zmq."""

import sys
from pathlib import Path
from typing import Any

from circus.client import CircusClient

from . import probe


def settings(directory: Path, children: int) -> str:
    head = f"[circus]\nendpoint = ipc://{directory}/endpoint\npubsub_endpoint = ipc://{directory}/events\n"
    return head + "".join(f"[watcher:w{number}]\ncmd = sleep 100000\n" for number in range(children))


def main() -> None:
    directory, children = probe.arguments()
    (directory / "circus.ini").write_text(settings(directory, children))
    endpoint = f"ipc://{directory}/endpoint"
    run = "from {0} import main; main()"
    with probe.daemon([sys.executable, "-c", run.format("circus.circusd"), "circus.ini"], directory) as process:
        client = CircusClient(endpoint=endpoint)

        def everything() -> Any:
            return client.send_message("status")["statuses"]

        probe.wait_until(lambda: list(everything().values()).count("active") == children)
        figures = probe.round_trips(process.pid, lambda: client.send_message("status", name="w0"), everything)
        listing = ["-c", run.format("circus.circusctl"), "--endpoint", endpoint, "status"]
        figures |= probe.command_line([sys.executable, *listing])
        other = CircusClient(endpoint=endpoint)
        figures |= probe.usage(lambda: other.send_message("stats"), lambda: client.send_message("status", name="w0"))
        probe.report(figures | probe.rest(process))


if __name__ == "__main__":
    main()
