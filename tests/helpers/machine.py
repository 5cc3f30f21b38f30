"""A real kernel for what this machine's own may not have: limits of cgroup version 2, and systemd above them.

It is User-mode Linux, a kernel that is a process: no image is built and no virtualization is needed. Its root is a
copy-on-write view of this machine's, so that its systemd, its Python and this checkout are what runs there.
Boots in a few seconds.
"""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import pytest

from helpers.booted import Booted

BOOT = Path(__file__).with_suffix(".sh")


def require() -> None:
    """Skip the test, saying why, where no machine can be booted. With CI set what could be installed must be there."""
    if os.geteuid() != 0:
        _without("needs root")
    tools = ["linux.uml", "bwrap", "setpriv", "/lib/systemd/systemd", "dbus-daemon", "/usr/bin/python3"]
    if missing := [tool for tool in tools if not shutil.which(tool)]:
        _without(f"needs {', '.join(missing)}")


def _without(reason: str) -> None:
    # A machine that should be able to do this must not skip it in silence.
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no kernel of its own: {reason}")


def _forbidden() -> str:
    """What a kernel said last that did not come as far as its first process; empty where it does."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *_confined(Path(folder)),
            "linux.uml",
            "mem=64M",
            f"uml_dir={folder}/uml",
            *_root(),
            "init=/bin/true",
        ]
        try:
            said = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30).stdout
        except subprocess.TimeoutExpired as late:
            said = late.stdout or b""
    lines = said.decode(errors="replace").split("\n")
    # A kernel whose first process ends panics; before that it tells how it ended.
    return "" if any("Run /bin/true as init" in line for line in lines) else " / ".join(lines[-4:])


def _confined(folder: Path) -> list[str]:
    """What a kernel that is killed ran in the machine would go on in this one, at whatever it was: so all it sees
    is a read-only file system and no network, and it is killed together with all that it runs."""
    confined = ["setpriv", "--pdeathsig", "KILL", "bwrap", "--die-with-parent", "--new-session"]
    confined += ["--unshare-pid", "--unshare-net", "--unshare-ipc"]
    confined += ["--cap-drop", "ALL", "--cap-add", "CAP_DAC_READ_SEARCH", "--ro-bind", "/", "/"]
    confined += ["--dev", "/dev", "--tmpfs", "/dev/shm", "--proc", "/proc"]
    return [*confined, "--bind", str(folder), str(folder), "--chdir", str(folder)]


def _root() -> list[str]:
    # Half a kernel's time until its first process goes by while it measures arithmetic for disks, and makes terminals.
    spared = ["initcall_blacklist=raid6_select_algo", "pty.legacy_count=0"]
    return ["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "con=null", "con0=null,fd:1", *spared]


class Machine(Booted):
    """A booted machine; `with Machine(folder) as machine` powers it off at the end."""

    def __init__(self, folder: Path, memory: str = "1G") -> None:
        """`folder` takes the console's log; it is all that the machine can write to, and has the same path in it."""
        self.folder = folder
        self.memory = memory
        self.commands = 0

    def __enter__(self) -> Self:
        self.channel, theirs = socket.socketpair()
        self.replies = self.channel.makefile("r", encoding="utf-8", errors="replace")
        self.line, end = socket.socketpair()
        self.line.settimeout(200)
        channels = [theirs.fileno(), end.fileno()]
        with theirs, end, (self.folder / "console.log").open("wb") as log:
            self.kernel = subprocess.Popen(
                [*_confined(self.folder), "linux.uml", *self._parameters(*channels)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=channels,
            )
        try:
            if self._reply(60) != ["ready"]:
                if said := _forbidden():
                    pytest.skip(f"no kernel of its own: this host does not let one run as a process: {said}")
                raise AssertionError(self._console())
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # Nothing in it is to be kept; and who would answer is stopped by this.
            self._ask("systemctl", "--force", "poweroff")
            self.kernel.wait(60)
        finally:
            self._remove()

    def run(self, *command: str, check: bool = True, timeout: float = 200) -> subprocess.CompletedProcess[str]:
        name = self._ask(*command)
        reply = self._reply(timeout)
        assert reply[:1] == [name], f"{command}: no answer after {timeout} s: {reply}\n{self._console()}"
        output = (self.folder / f"{name}.out").read_text(errors="replace")
        done = subprocess.CompletedProcess(command, int(reply[1]), output)
        assert not check or done.returncode == 0, f"{command}: exit status {done.returncode}\n{output}"
        return done

    def shell(self, script: str, *arguments: str, check: bool = True) -> str:
        """What a shell script printed."""
        return self.run("sh", "-euc", script, "sh", *arguments, check=check).stdout

    def converse(self, *command: str) -> TextIO:
        """Start a command on the second console; what is returned is its standard input and output."""
        self.shell('exec 3<>/dev/tty2; stty raw -echo <&3; "$@" <&3 >&3 2>/run/converse.log &', *command)
        return self.line.makefile("rw", encoding="utf-8")

    def _parameters(self, channel: int, line: int) -> list[str]:
        consoles = [f"con1=fd:{channel}", f"con2=fd:{line}"]
        boot = [f"EXCHANGE={self.folder}", "init=/bin/sh", "--", str(BOOT)]
        return [f"mem={self.memory}", f"uml_dir={self.folder}/uml", *_root(), *consoles, *boot]

    def _ask(self, *command: str) -> str:
        """Have a command run; the name that the answer will bear."""
        self.commands += 1
        name = f"command-{self.commands}"
        (self.folder / f"{name}.sh").write_text(f"{shlex.join(command)}\n")
        self.channel.sendall(f"{name}\n".encode())
        return name

    def _reply(self, timeout: float) -> list[str]:
        """One line that the machine says; nothing when it ended or says none in time (seconds)."""
        self.channel.settimeout(timeout)
        try:
            return self.replies.readline().split()
        except TimeoutError:
            return []

    def _console(self) -> str:
        """The end of what the kernel and systemd printed."""
        return (self.folder / "console.log").read_text(errors="replace")[-4000:]

    def _remove(self) -> None:
        self.kernel.send_signal(signal.SIGKILL)
        self.kernel.wait(10)
        self.replies.close()
        self.channel.close()
        self.line.close()
