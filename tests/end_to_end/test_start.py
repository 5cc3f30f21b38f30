"""How a start fails and is told of, and what a daemon keeps of how it was started."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from helpers import impatient
from helpers.daemon import DEADLINE, Daemon
from helpers.fuse import hanging
from helpers.handed import handed


def test_a_disk_without_room_for_the_lock_may_have_some_soon(roostd: Daemon) -> None:
    """No other state directory is needed, so this is not what somebody has to correct first."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    roostd.state.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(roostd.state)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("this machine does not let tests mount a file system")
    try:
        ballast = roostd.state / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"x" * 4096):
                pass
        command = [sys.executable, "-m", "roost.daemon"]
        done = subprocess.run(command, env=roostd.environ, capture_output=True, text=True, timeout=DEADLINE)
        assert done.returncode == 1, done.stderr
        assert "No space left on device" in done.stderr and "Traceback" not in done.stderr
    finally:
        subprocess.run(["umount", str(roostd.state)], check=False)


@pytest.mark.parametrize("closed", [[1], [2], [0, 1, 2]])
def test_a_daemon_that_is_started_with_closed_descriptors_runs_and_ends_as_any_other(
    tmp_path: Path, closed: list[int]
) -> None:
    """Its log goes nowhere: not into the lock or the database, which would have those numbers."""
    daemon = Daemon(tmp_path / "s", "[daemon]\nlog_level = 'debug'\n")
    try:
        daemon.start("sh", "-c", f'exec "$@" {" ".join(f"{number}>&-" for number in closed)}', "sh")
        assert daemon.run(daemon.create(), "echo hello")["state"] == "completed"
        lock = (daemon.state / "lock").read_text()
        assert json.loads(lock) == {"pid": daemon.pid, "socket": str(daemon.socket)}
        assert {os.readlink(f"/proc/{daemon.pid}/fd/{number}") for number in closed} == {os.devnull}
        assert daemon.stop() == 0
    finally:
        daemon.close()


def test_a_daemon_drops_the_marks_of_a_session_and_keeps_what_systemd_handed_over(tmp_path: Path) -> None:
    """What bears a mark ends with that session; the socket and READY=1 are meant for this pid."""
    daemon = Daemon(tmp_path / "s", ROOST_SESSION="s-outer", ROOST_CHILD="s-outer/c-a", ROOST_DAEMON="/outer", KEPT="1")
    with handed(daemon) as process:
        assert daemon.call("daemon.status")["pid"] == process.pid
        environ = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        names = {entry.partition(b"=")[0] for entry in environ}
        assert b"KEPT" in names and not {b"ROOST_SESSION", b"ROOST_CHILD", b"ROOST_DAEMON"} & names


def test_a_cgroup_that_is_named_on_a_mount_that_hangs_does_not_keep_the_daemon_from_serving(tmp_path: Path) -> None:
    with hanging(tmp_path / "mount") as mount:
        group = mount.path / "group"
        daemon = Daemon(tmp_path / "s", f"[daemon]\ncgroup = '{group}'\n")
        try:
            mount.stop()
            daemon.start(*impatient.COMMAND)
            assert daemon.run(daemon.create(), "echo hello")["state"] == "completed"
            checks = {check["name"]: check for check in daemon.call("daemon.status")["checks"]}
            assert not checks["cgroup"]["ok"] and str(group) in checks["cgroup"]["message"]
            assert daemon.stop() == 0
        finally:
            mount.abort()
            daemon.close()
