"""The shipped units say what docs/operations.md promises, and systemd understands every line of them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
SERVICES = ["roost.service", "roost@.service"]

Sections = dict[str, dict[str, str]]


STRICT = "roost@.service.d/strict.conf"


def parse(name: str) -> Sections:
    """Read a unit; a key that stands twice in a section keeps its last value."""
    sections: Sections = {}
    section: dict[str, str] = {}
    for line in (UNITS / name).read_text().splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section[key] = value
    return sections


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_reports_itself_and_stops_truthfully(name: str) -> None:
    service = parse(name)["Service"]
    expected = {
        "Type": "notify",
        "NotifyAccess": "main",
        "KillMode": "mixed",
        "Restart": "on-failure",
        "RestartPreventExitStatus": "2 9 10 11",
        "Delegate": "yes",
        "ExecStart": "/usr/bin/env roostd",
        "ExecReload": "/usr/bin/env roost daemon reload",
        "SyslogIdentifier": "roostd",
    }
    assert expected == {key: service.get(key) for key in expected}
    assert int(service["WatchdogSec"]) > 0
    assert int(service["TimeoutStopSec"]) > 120, "the daemon's own deadline is 120 s"


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("key", ["MemoryDenyWriteExecute", "RestrictNamespaces", "ProtectKernelTunables"])
def test_nothing_that_node_or_bubblewrap_need_is_forbidden(name: str, key: str) -> None:
    assert key not in parse(name)["Service"]


def test_the_socket_unit_makes_the_directory_and_the_service_does_not() -> None:
    socket = parse("roost.socket")["Socket"]
    assert socket["ListenStream"] == "%t/roost/roost.sock"
    assert (socket["SocketMode"], socket["DirectoryMode"]) == ("0600", "0700")
    assert "RuntimeDirectory" not in parse("roost.service")["Service"]
    assert parse("roost.service")["Unit"]["Requires"] == "roost.socket"


def test_the_template_runs_as_its_instance_in_directories_of_its_own() -> None:
    service = parse("roost@.service")["Service"]
    assert service["User"] == "%i"
    assert (service["RuntimeDirectory"], service["RuntimeDirectoryMode"]) == ("roost/%i", "0700")
    assert (service["StateDirectory"], service["StateDirectoryMode"]) == ("roost/%i", "0700")


@pytest.mark.parametrize(
    ("scope", "names"), [("--user", ["roost.service", "roost.socket"]), ("--system", ["roost@.service"])]
)
def test_systemd_understands_every_line(scope: str, names: list[str], tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    command = ["systemd-analyze", "verify", scope, "--man=no", *(str(UNITS / name) for name in names)]
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    # An unknown key is a warning and no failure, so the words count as well as the status.
    complaints = [line for line in done.stderr.splitlines() if "roost" in line]
    assert (done.returncode, complaints) == (0, []), done.stderr


@pytest.mark.parametrize(("drop_ins", "threshold"), [([], 31), ([STRICT], 25)])
def test_the_template_is_exposed_no_more_than_promised(drop_ins: list[str], threshold: int, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    for name in ["roost@.service", *drop_ins]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(UNITS / name, tmp_path / name)
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={threshold}"]
    done = subprocess.run([*command, str(tmp_path / "roost@.service")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout.splitlines()[-1:]
    complaints = [line for line in done.stderr.splitlines() if "roost" in line]
    assert complaints == []


def test_daemon_and_command_of_a_unit_mean_the_same_socket() -> None:
    """Its ExecReload is told nothing but the unit's environment."""
    template, user = parse("roost@.service"), parse("roost.service")
    assert template["Service"]["Environment"] == "ROOST_SOCKET=%t/roost/%i/roost.sock"
    assert template["Service"]["RuntimeDirectory"] == "roost/%i"
    assert user["Service"]["Environment"] == "ROOST_STATE_DIRECTORY=%h/.local/state/roost", "its lock names the socket"
