"""What can be seen of this host and this installation without a daemon; each a record as ``daemon.status`` has them."""

import ctypes
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from .. import __version__
from ..protocol.errors import DaemonUnreachable, RoostError
from ..protocol.paths import Paths
from .frames import nobody
from .invocation import Record
from .launch import connect
from .paths import find
from .systemctl import Systemctl
from .units import SERVICE, UserUnits, there

SYSTEM_UNIT = "roost@.service"
_ELSEWHERE = (Path("/etc/systemd/user"), Path("/usr/local/lib/systemd/user"), Path("/usr/lib/systemd/user"))
_SYSTEM = (Path("/etc/systemd/system"), Path("/usr/local/lib/systemd/system"), Path("/usr/lib/systemd/system"))
_GET_SUBREAPER = 37


def all_checks(environ: Mapping[str, str]) -> Iterator[Record]:
    """Everything, the daemon first. None is started.

    Raises:
        InvalidSettings, SocketPathTooLong: the environment does not say where the daemon is.
    """
    paths, _ = find(environ)
    yield from _daemon(paths)
    yield _state_directory(paths.state)
    yield _socket(paths.socket)
    yield from kernel()
    if os.path.isdir("/run/systemd/system"):
        yield from _systemd(environ)


def check(name: str, ok: bool, message: str) -> Record:
    return {"name": name, "ok": ok, "message": message}


def _daemon(paths: Paths) -> Iterator[Record]:
    """How it is, and all that only it knows."""
    try:
        with connect(paths) as daemon:
            status = daemon.call("daemon.status", {})
    except DaemonUnreachable as exc:
        if nobody(exc):
            text = "none runs; the first command starts one. What it can enforce here is told when it runs"
            yield check("daemon", True, f"{text}: `roost daemon start`")
        else:
            yield check("daemon", False, exc.message)
        return
    except RoostError as exc:
        yield check("daemon", False, exc.message)
        return
    running, own = status["version"], __version__
    differs = "" if running == own else f"; this command is version {own}: `roost daemon restart`"
    phase = status["phase"]
    yield check(
        "daemon", phase != "refused" and not differs, f"{phase}, version {running}, pid {status['pid']}{differs}"
    )
    storage = status["storage"]
    yield check("storage", storage["ok"], storage["path"] if storage["ok"] else storage["problem"]["message"])
    yield from status.get("checks", [])


def _state_directory(path: str) -> Record:
    name = "state_directory"
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return check(name, True, f"{path} is not there yet; the first daemon makes it")
    except OSError as exc:
        return _unseen(name, exc)
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid != os.geteuid() and os.geteuid():
        return check(name, False, f"{path} belongs to uid {found.st_uid} and not to you; name another with --state")
    if mode & 0o077:
        return check(name, False, f"{path} has mode {mode:o}: others can look into it; `chmod 700 {path}`")
    return check(name, True, f"{path}, mode {mode:o}")


def _socket(path: str) -> Record:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return check("socket", True, f"{path} is not there; a daemon that runs makes it")
    except OSError as exc:
        return _unseen("socket", exc)
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISSOCK(found.st_mode):
        return check("socket", False, f"{path} is no socket; move it away")
    # With allowed_uids all may connect, and the daemon looks at who does.
    if mode not in (0o600, 0o666, 0o660):
        return check("socket", False, f"{path} has mode {mode:o} and should have 600; `chmod 600 {path}`")
    return check("socket", True, f"{path}, mode {mode:o}")


def _unseen(name: str, exc: OSError) -> Record:
    return check(name, False, f"{exc.filename} cannot be looked at: {exc.strerror}; correct that")


def kernel() -> Iterator[Record]:
    """What roostd needs of the kernel."""
    needs: dict[str, tuple[Callable[[], object], str]] = {
        "pidfd": (_pidfd, "a process is held by a pidfd; roostd needs Linux 5.3 or newer"),
        "subreaper": (_subreaper, "orphans come to roostd; it needs Linux 3.4 or newer"),
        "children": (_children, "children are listed in /proc; roostd needs CONFIG_PROC_CHILDREN"),
    }
    for name, (works, meaning) in needs.items():
        try:
            works()
            yield check(name, True, meaning.partition(";")[0])
        except (OSError, AttributeError) as exc:
            yield check(name, False, f"{meaning}: {exc}")


def _pidfd() -> None:
    os.close(os.pidfd_open(os.getpid()))


def _subreaper() -> None:
    told = ctypes.c_int()
    if ctypes.CDLL(None, use_errno=True).prctl(_GET_SUBREAPER, ctypes.byref(told), 0, 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _children() -> None:
    Path(f"/proc/self/task/{os.getpid()}/children").read_bytes()


def _systemd(environ: Mapping[str, str]) -> Iterator[Record]:
    if any(os.path.exists(folder / SYSTEM_UNIT) for folder in _SYSTEM):
        yield check("units", True, f"{SYSTEM_UNIT} is installed")
        return
    try:
        folders = (UserUnits(environ).folder, *_ELSEWHERE)
    except RoostError as exc:
        yield check("units", False, exc.message)
        return
    yield user_units(folders)
    yield _lingering(environ)


def user_units(folders: Sequence[Path]) -> Record:
    """In which of these folders the user's systemd finds roost.service."""
    try:
        found = next((folder for folder in folders if there(folder / SERVICE)), None)
    except OSError as exc:
        return _unseen("units", exc)
    text = f"{SERVICE} is in {found}" if found else f"{SERVICE} is not installed; `roost daemon install` does it"
    return check("units", found is not None, text)


def _lingering(environ: Mapping[str, str]) -> Record:
    try:
        lingers = Systemctl(environ).lingers()
    except RoostError as exc:
        return check("lingering", False, exc.message)
    text = (
        "your services go on when you log out" if lingers else "roostd ends when you log out; `loginctl enable-linger`"
    )
    return check("lingering", lingers, text)
