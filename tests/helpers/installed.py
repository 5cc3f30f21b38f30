"""A container with roost installed from its wheel, and an account `agent`, as an administrator would do it."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from helpers.booted import ASKED
from helpers.container import Container, why_not

ROOT = Path(__file__).parents[2]
UNIT = "roost@agent.service"
SOCKET = "/run/roost/agent/roost.sock"
NEWER = "99.0.0"
"""The version of the second wheel."""

# A virtual environment whose dependencies are those of the tests; they bring pip along.
VENV = """
/usr/bin/python3 -m venv --without-pip /opt/roost
echo /mnt/packages >"$(echo /opt/roost/lib/python3.*/site-packages)/packages.pth"
"""
PIP = (
    *("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--root-user-action=ignore"),
    *("--no-warn-script-location", "--no-cache-dir", "--disable-pip-version-check"),
)
INSTALL = """
useradd --create-home agent
cp -r /mnt/units/roost@.service /etc/systemd/system/
ln -s /opt/roost/bin/roost /opt/roost/bin/roostd /usr/local/bin/
loginctl enable-linger agent
systemctl daemon-reload
"""


def other_python() -> str | None:
    """The reason why the tests' packages cannot be used by the system's Python, or None."""
    name = f"python3.{sys.version_info.minor}"
    system = Path("/usr/bin/python3").resolve().name
    return None if system == name else f"/usr/bin/python3 is {system}, the tests run on {name}"


def build(source: Path, folder: Path) -> None:
    """Put the wheel of ``source`` into ``folder``, without a network."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=source, check=True, timeout=120)


def newer(folder: Path) -> Path:
    """A copy of this checkout with a version of its own."""
    skipped = shutil.ignore_patterns(".*", "__pycache__", "src", "tests", "bench", "docs")
    copy = shutil.copytree(ROOT, folder, ignore=skipped)
    init = copy / "__init__.py"
    lines = [line for line in init.read_text().splitlines() if not line.startswith("__version__")]
    init.write_text("\n".join([*lines, f'__version__ = "{NEWER}"\n']))
    return copy


@contextmanager
def installed(folder: Path) -> Generator["Installed"]:
    """A booted machine with roost in /opt/roost; what is built stands in ``folder``."""
    if reason := why_not() or other_python():
        # A machine that should be able to do this must not skip it in silence.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no container with systemd: {reason}")
    build(ROOT, folder / "wheel")
    (folder / "newer").mkdir()
    packages = Path(sysconfig.get_path("purelib"))
    binds = {"/mnt/wheel": folder / "wheel", "/mnt/newer": folder / "newer"}
    binds |= {"/mnt/packages": packages, "/mnt/units": ROOT / "systemd"}
    with Installed(folder, binds) as machine:
        machine.newer = folder / "newer"
        machine.run("sh", "-ec", VENV)
        machine.install("/opt/roost", "/mnt/wheel")
        machine.run("sh", "-ec", INSTALL)
        machine.ids = machine.run("sh", "-c", "id -u agent; id -g agent").stdout.split()
        with machine.asked():
            yield machine


class Installed(Container):
    """The calls are the account's, to its daemon of the template.

    Attributes:
        newer: what is built there is in the machine's /mnt/newer.
        ids: the account's number, and its group's.
        command: the `roost` that is used.
    """

    newer: Path
    ids: list[str]
    command = "roost"

    def install(self, venv: str, wheels: str) -> None:
        """Put the wheel that is in ``wheels`` into a virtual environment, over what is there."""
        self.run(f"{venv}/bin/python", *PIP, "--upgrade", *self.run("sh", "-c", f"echo {wheels}/*.whl").stdout.split())

    @contextmanager
    def asked(self) -> Generator[None]:
        """Have a client of the account at hand for :meth:`call`."""
        command = self.inside("/opt/roost/bin/python", "-c", ASKED, SOCKET, options=self._agent())
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as self.client:
            yield

    def _agent(self) -> list[str]:
        # As runuser would, but for PAM.
        uid, gid = self.ids
        return [f"--setuid={uid}", f"--setgid={gid}", "--wdns=/home/agent"]

    def as_agent(
        self, *command: str, check: bool = True, environ: Mapping[str, str] = {"ROOST_SOCKET": SOCKET}
    ) -> "subprocess.CompletedProcess[str]":
        account = {"HOME": "/home/agent", "USER": "agent", "LOGNAME": "agent", "SHELL": "/bin/sh"}
        return self.run(*command, check=check, options=self._agent(), environ={**account, **environ})

    def call(self, method: str, **params: Any) -> Any:
        """Any method of the daemon; through its own `roost call` where another `roost` is used."""
        if self.command != "roost":
            return json.loads(self.as_agent(self.command, "call", method, json.dumps(params)).stdout)
        assert self.client.stdin and self.client.stdout
        self.client.stdin.write(json.dumps([method, params]) + "\n")
        self.client.stdin.flush()
        answer = json.loads(self.client.stdout.readline())
        assert "error" not in answer, (method, params, answer)
        return answer["result"]

    def create(self, **params: Any) -> str:
        params = {"engine": "shell", "workspace": "/home/agent", **params}
        return str(self.call("session.create", **params)["session"]["id"])

    def send(self, session: str, prompt: str, **params: Any) -> str:
        return str(self.call("turn.send", session=session, input=prompt, **params)["turn"]["id"])

    def wait(self, turn: str) -> dict[str, Any]:
        """The turn once it has ended."""
        ended: dict[str, Any] = self.call("turn.wait", turn=turn, timeout=30_000)["turn"]
        return ended

    def printed(self, session: str, prompt: str) -> str:
        """What the commands of a turn print that completes."""
        turn = self.wait(self.send(session, prompt))
        items = self.call("turn.get", turn=turn["id"])["items"]
        output = "".join(item["content"] for item in items if item["kind"] == "command").strip()
        assert turn["state"] == "completed", (turn, output)
        return output

    def begun(self, session: str, prompt: str) -> str:
        """Send a prompt that goes on for ever after its own command line; returns when it has come so far."""
        mark = f"/home/agent/{session}"
        turn = self.send(session, f"{prompt}; touch {mark}; sleep 600")
        self.wait_until("test", "-e", mark)
        self.run("rm", mark)
        return turn

    def forget_journal(self) -> None:
        """What stands there by now is of no interest any more."""
        self.run("journalctl", "--sync")
        self._cursor = self.run("journalctl", "-n", "1", "-o", "export", "--output-fields=").stdout

    def journal(self) -> str:
        """What was logged of the template's daemon since :meth:`forget_journal`."""
        self.run("journalctl", "--sync")
        after = next(line for line in self._cursor.splitlines() if line.startswith("__CURSOR="))
        after = after.removeprefix("__CURSOR=")
        return self.run("journalctl", "-u", UNIT, "-o", "cat", "--no-pager", f"--after-cursor={after}").stdout

    def shows(self, unit: str, **properties: str) -> None:
        """Wait until a unit has these properties."""
        wanted = list(properties.values())
        deadline = time.monotonic() + 60
        while (shown := self.shown(unit, *properties)) != wanted:
            assert time.monotonic() < deadline, (unit, properties, shown)
            time.sleep(0.1)

    def pids(self, pattern: str) -> list[str]:
        """The account's processes whose command line matches."""
        return self.run("pgrep", "-u", "agent", "-f", pattern, check=False).stdout.split()

    def configure(self, text: str) -> None:
        """Write the settings of the template's daemons."""
        self.run("sh", "-c", 'mkdir -p /etc/roost; printf "%s" "$1" >/etc/roost/roost.toml', "sh", text)
