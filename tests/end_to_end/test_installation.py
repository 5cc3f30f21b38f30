"""``roost daemon install`` where there is no systemd for the user; where there is one: test_systemd_user.py."""

import json
from pathlib import Path

import pytest

from helpers.cli import Roost
from helpers.daemon import Daemon


@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_without_a_systemd_of_the_user_it_says_so_and_changes_nothing(tmp_path: Path, verb: str) -> None:
    roost = Roost(Daemon(tmp_path / "state"))
    environ = {"HOME": str(tmp_path), "PATH": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    done = roost("daemon", verb, **environ)
    assert done.status == 7 and done.err.endswith("(systemd_unavailable)\n")
    assert "systemctl cannot be run" in done.err
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho 'Failed to connect to bus: No medium found' >&2\nexit 1\n")
    (tmp_path / "systemctl").chmod(0o755)
    told = json.loads(roost("--json", "daemon", verb, **environ).err)["error"]
    assert (
        told["name"] == "systemd_unavailable" and told["data"]["reason"] == "Failed to connect to bus: No medium found"
    )
    assert "log in as the user" in told["message"]
    assert not (tmp_path / ".config").exists()


@pytest.mark.parametrize("variable", ["ROOST_STATE_DIRECTORY", "ROOST_SOCKET"])
def test_it_is_not_installed_for_a_daemon_that_its_socket_would_not_reach(tmp_path: Path, variable: str) -> None:
    roost = Roost(Daemon(tmp_path / "state"))
    del roost.environ["ROOST_STATE_DIRECTORY"]
    (tmp_path / "systemctl").write_text("#!/bin/sh\n")
    (tmp_path / "systemctl").chmod(0o755)
    environ = {"HOME": str(tmp_path), "PATH": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    told = json.loads(roost("--json", "daemon", "install", **environ, **{variable: "/elsewhere"}).err)["error"]
    assert told["name"] == "invalid_settings" and told["data"] == {"variable": variable, "path": "/elsewhere"}
    assert not (tmp_path / ".config").exists()
