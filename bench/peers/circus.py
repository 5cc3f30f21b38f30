"""circus: one watcher for each child, asked by its own client over zmq."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from circus.client import CircusClient

from . import probe

RUN = "from {0} import main; main()"


def endpoint(directory: Path) -> str:
    return f"ipc://{directory}/endpoint"


def settings(directory: Path, commands: list[str]) -> str:
    """``stop_children``, which costs time, where a child starts something: the best that it can do about that."""
    head = f"[circus]\nendpoint = {endpoint(directory)}\npubsub_endpoint = ipc://{directory}/events\n"
    return head + "".join(
        f"[watcher:w{number}]\ncmd = {command}\nstop_children = {not command.startswith('sleep')}\n"
        for number, command in enumerate(commands)
    )


@contextmanager
def circusd(directory: Path, commands: list[str]) -> Generator[subprocess.Popen[bytes]]:
    (directory / "circus.ini").write_text(settings(directory, commands))
    with probe.daemon([sys.executable, "-c", RUN.format("circus.circusd"), "circus.ini"], directory) as process:
        yield process


@contextmanager
def run(commands: list[str]) -> Generator[probe.Running]:
    directory = probe.arguments()[0]
    with circusd(directory, commands) as process:
        client = CircusClient(endpoint=endpoint(directory), timeout=probe.READY_SECONDS)

        def told(command: str) -> None:  # refused while it is still at the command before
            probe.wait_until(lambda: client.send_message(command, waiting=True)["status"] == "ok")

        def states() -> list[str]:
            return list(client.send_message("status")["statuses"].values())

        yield probe.Running(process.pid, lambda: told("start"), lambda: told("stop"), states)


def main() -> None:
    directory, children, _ = probe.arguments()
    with probe.nights(1) as (night,), circusd(directory, [f"sleep {night}"] * children) as process:
        client = CircusClient(endpoint=endpoint(directory), timeout=probe.READY_SECONDS)

        def everything() -> Any:
            return client.send_message("status")["statuses"]

        probe.wait_until(lambda: list(everything().values()).count("active") == children)
        figures = probe.round_trips(process.pid, lambda: client.send_message("status", name="w0"), everything)
        listing = ["-c", RUN.format("circus.circusctl"), "--endpoint", endpoint(directory), "status"]
        figures |= probe.command_line([sys.executable, *listing])
        other = CircusClient(endpoint=endpoint(directory), timeout=probe.READY_SECONDS)
        figures |= probe.usage(lambda: other.send_message("stats"), lambda: client.send_message("status", name="w0"))
        figures |= probe.rest(process)
    probe.report(figures | probe.supervision(run, "active"))


if __name__ == "__main__":
    main()
