"""A real systemd as process 1 of a throw-away container, over a copy-on-write view of this machine.

Nothing is downloaded and no image is built: the root file system is an overlay whose changes live in memory,
so that what is tested are this machine's own systemd and Python. Boots in under a second.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from helpers.booted import Booted

# systemd manages whatever cgroup it starts in, so it gets one of its own; a test that dies takes it along.
BOOT = """
echo $$ >"$CGROUP/cgroup.procs"
exec setpriv --pdeathsig KILL unshare --mount --propagation private sh -ec '
  mount -t tmpfs -o mode=755 tmpfs /run
  mkdir -p /run/overlay/changes /run/overlay/work /run/overlay/root
  mount -t overlay overlay /run/overlay/root \
    -o lowerdir=/,upperdir=/run/overlay/changes,workdir=/run/overlay/work
  # What prepares a disk or a first start; generators are run anew by each daemon-reload, too.
  (cd /run/overlay/root && rm -rf usr/lib/systemd/*-generators/* usr/lib/systemd/system/sysinit.target.wants \
    usr/lib/systemd/system/timers.target.wants etc/systemd/system/*.wants)
  exec systemd-nspawn --quiet --directory=/run/overlay/root --register=no --keep-unit --private-network \
    --link-journal=no --console=read-only "$@" /lib/systemd/systemd systemd.unit=basic.target
' sh "$@"
"""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What a log-in there has; whoever runs the tests may have less."""


def why_not() -> str | None:
    """The reason why no container can be booted here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    tools = ["systemd-nspawn", "/lib/systemd/systemd", "dbus-daemon", "nsenter", "setpriv", "unshare"]
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        return f"needs {', '.join(missing)}"
    if not own_cgroup():
        return "needs a cgroup2 file system"
    return None


def own_cgroup() -> Path | None:
    """The folder of the cgroup (version 2) that this process is in."""
    for mount in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")):
        if (mount / "cgroup.procs").exists():
            for line in Path("/proc/self/cgroup").read_text().splitlines():
                if line.startswith("0::"):
                    return mount / line.removeprefix("0::/")
    return None


class Container(Booted):
    """A booted machine; `with Container(...) as machine` powers it off at the end."""

    def __init__(self, folder: Path, binds: Mapping[str, Path]) -> None:
        """`folder` takes the console's log; `binds` are shown read-only at these paths of the container."""
        parent = own_cgroup()
        assert parent, why_not()
        self.cgroup = parent / f"roost-test-{os.getpid()}"
        self.console = folder / "console.log"
        self.binds = [f"--bind-ro={source}:{target}" for target, source in binds.items()]

    def __enter__(self) -> Self:
        self.cgroup.mkdir()
        environment = os.environ | {"CGROUP": str(self.cgroup), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        with self.console.open("wb") as log:
            self.nspawn = subprocess.Popen(
                ["sh", "-ec", BOOT, "sh", f"--machine={self.cgroup.name}", *self.binds],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._wait_booted(deadline=time.monotonic() + 60)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.run("systemctl", "--force", "poweroff", check=False)  # nothing in it is to be kept
            self.nspawn.wait(60)
        finally:
            self._remove()

    def run(
        self,
        *command: str,
        check: bool = True,
        timeout: float = 200,
        options: Sequence[str] = (),
        environ: Mapping[str, str] = {},
    ) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ROOST_", "XDG_"))}
        done = subprocess.run(
            self.inside(*command, options=options),
            env={**inherited, "PATH": PATH, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        assert not check or done.returncode == 0, f"{command}: exit status {done.returncode}\n{done.stdout}"
        return done

    def inside(self, *command: str, options: Sequence[str] = ()) -> list[str]:
        """The command that runs this one in the container, as its root where no option of nsenter says otherwise."""
        return ["nsenter", "--target", str(self.leader), "--all", *options, "--", *command]

    def _wait_booted(self, deadline: float) -> None:
        """Wait until nspawn has a child and that child's systemd says `running`."""
        children = Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children")
        state = ""
        while state not in ("running", "degraded"):
            alive = self.nspawn.poll() is None and time.monotonic() < deadline
            assert alive, f"no systemd, state {state!r}: {self.console.read_text(errors='replace')}"
            time.sleep(0.05)
            if leader := children.read_text().split():
                self.leader = int(leader[0])
                state = self.run("systemctl", "is-system-running", "--wait", check=False).stdout.strip()

    def _remove(self) -> None:
        """End what is left and take the cgroups away."""
        (self.cgroup / "cgroup.kill").write_text("1")
        self.nspawn.wait(10)
        deadline = time.monotonic() + 10
        # Where version 1 is mounted too, nspawn has made a folder of the same name in its systemd hierarchy.
        mirror = Path(str(self.cgroup).replace("/cgroup/unified/", "/cgroup/systemd/"))
        for top in {self.cgroup, mirror}:
            while top.exists() and not removed(top):
                assert time.monotonic() < deadline, f"processes survive in {top}"
                time.sleep(0.05)


def removed(cgroup: Path) -> bool:
    """Take a cgroup and those below it away; False while a process is left in one of them."""
    folders = [Path(folder) for folder, _, _ in os.walk(cgroup, topdown=False)]
    try:
        for folder in folders:
            folder.rmdir()
    except OSError:
        return False
    return True
