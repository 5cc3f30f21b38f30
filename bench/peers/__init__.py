"""The neighbouring programs: each installed by its pip name into an environment of its own, and measured now."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from ..scale import Scale

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / ".venv-bench"
INSTALL_SECONDS = 180
RUN_SECONDS = 240


class Peer(NamedTuple):
    """One of them.

    Attributes:
        packages: what pip is asked for. instead: argument lists for pip, run one after another where that is refused.
        note: what has to be said of the figures then.
    """

    name: str
    packages: tuple[str, ...]
    instead: tuple[tuple[str, ...], ...] = ()
    note: str = ""


PEERS = (
    Peer("circus", ("circus",)),
    Peer("supervisord", ("supervisor", "setuptools<81")),
    Peer(
        "tractor",
        ("tractor",),
        (
            # What it asks for and a registry has; the newest tractor there needs the Trio of its time.
            ("trio<0.22", "tricycle<0.3", "async_generator", "trio_typing", "colorlog", "wrapt", "msgspec", "pdbpp"),
            ("--no-deps", "tractor"),
        ),
        "pip refuses its dependency from a git address: run with pdbpp and trio < 0.22 from the registry",
    ),
)


class NotRun(Exception):
    """Why there are no figures of a peer."""


def measured(peer: Peer, environments: Path, directory: Path, scale: Scale) -> tuple[dict[str, str], str]:
    """A peer's figures by key, and what has to be said of them.

    Args:
        environments: it is installed in a folder of its own in here, unless it was before.
        directory: it runs here.

    Raises:
        NotRun
    """
    python, note = _installed(peer, environments / peer.name)
    command = [str(python), "-m", f"bench.peers.{peer.name}", str(directory), str(scale.sessions), str(scale.crash)]
    told = _run(command, RUN_SECONDS)
    try:
        figures: dict[str, str] = json.loads(told.splitlines()[-1])
    except (IndexError, ValueError):
        raise NotRun(f"its probe said {told.strip()[-200:]!r}") from None
    version = _run([str(python), "-c", _VERSION, peer.packages[0]], RUN_SECONDS).strip()
    return figures, ". ".join(filter(None, (f"{peer.name} {version}", note)))


_VERSION = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"


def _installed(peer: Peer, home: Path) -> tuple[Path, str]:
    """The interpreter that has it, and the note on how it came there; installed once."""
    python, stamp = home / "bin" / "python", home / "installed"
    if not stamp.exists():
        # With the pip that Python brings: a newer one refuses tractor for a dependency that --no-deps leaves out.
        _run([sys.executable, "-m", "venv", "--clear", str(home)], INSTALL_SECONDS)
        stamp.write_text(install(peer, python))
    return python, stamp.read_text()


def install(peer: Peer, python: Path) -> str:
    """What has to be said of how it came there. Raises NotRun: why pip refuses it."""
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        _run([*pip, *peer.packages], INSTALL_SECONDS)
        return ""
    except NotRun:
        if not peer.instead:
            raise
    for arguments in peer.instead:
        _run([*pip, *arguments], INSTALL_SECONDS)
    return peer.note


def _run(command: list[str], seconds: float) -> str:
    """What it prints; it and all that it started are ended after ``seconds``."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise NotRun(f"it took longer than {seconds:g} s") from None
        finally:
            _end(process)
    if process.returncode:
        raise NotRun((err or out).strip().splitlines()[-1] if (err or out).strip() else f"exit {process.returncode}")
    return out


def _end(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        pass  # the whole group has ended by itself
