"""The user's systemd as the command asks it: one place where a systemctl that fails becomes an error of ours."""

import os
import subprocess
from collections.abc import Mapping

from ..protocol.errors import RoostError

PATIENCE = 30.0
"""Seconds that systemd has to answer."""
STOPPING = 200.0
"""Seconds for a stop: longer than the unit's TimeoutStopSec."""


class SystemdUnavailable(RoostError):
    """There is no systemd for this user, or it refused."""

    name = "systemd_unavailable"
    code = 508


class Systemctl:
    """``systemctl --user``, in the environment of whoever runs the command."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def check(self) -> None:
        """Raises SystemdUnavailable if this user has no systemd."""
        done = self._run("systemctl", "--user", "show-environment")
        if done.returncode:
            text = f"this user has no systemd here ({_told(done)}); log in as the user (su and sudo are no log-in)"
            raise SystemdUnavailable(
                f"{text}, or let `roost` start the daemon itself, as it does without systemd", reason=_told(done)
            )

    def do(self, *words: str, patience: float = PATIENCE) -> None:
        """Raises SystemdUnavailable with what systemctl said."""
        done = self._run("systemctl", "--user", *words, patience=patience)
        if done.returncode:
            text = f"`systemctl --user {' '.join(words)}` failed: {_told(done)}; `systemctl --user status` tells more"
            raise SystemdUnavailable(text, command=["systemctl", "--user", *words], reason=_told(done))

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self._run("systemctl", "--user", "show", "--value", f"--property={name}", unit).stdout.strip()

    def lingers(self) -> bool:
        """Whether the user's systemd runs without a log-in. One whom logind does not know does not linger."""
        done = self._run("loginctl", "show-user", "--value", "--property=Linger", str(os.getuid()))
        return done.returncode == 0 and done.stdout.strip() == "yes"

    def _run(self, *command: str, patience: float = PATIENCE) -> "subprocess.CompletedProcess[str]":
        try:
            return subprocess.run(
                command,
                env=dict(self._environ),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=patience,
            )
        except OSError as exc:
            text = f"{command[0]} cannot be run ({exc.strerror}); without systemd, `roost` starts the daemon itself"
            raise SystemdUnavailable(text, command=[*command], reason=exc.strerror) from exc
        except subprocess.TimeoutExpired:
            text = f"`{' '.join(command)}` did not end within {patience:g} s; look at `systemctl --user status`"
            raise SystemdUnavailable(text, command=[*command], reason="timed_out") from None


def _told(done: "subprocess.CompletedProcess[str]") -> str:
    return " ".join(done.stderr.split()) or f"exit status {done.returncode}"
