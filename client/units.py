"""The user's systemd units as files: put in place, recognised, and taken away; what is not ours is never touched."""

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ..protocol.errors import InvalidSettings, RoostError
from ..protocol.paths import STATE_VARIABLE, resolve

SHIPPED = Path(__file__).parents[1] / "systemd"
SERVICE, SOCKET = "roost.service", "roost.socket"
DROP_IN = f"{SERVICE}.d/installed.conf"
_MARK = "# Put here by `roost daemon install`; change it by `systemctl --user edit`. "


class UnitInTheWay(RoostError):
    """A file of the user's own stands where one of ours belongs."""

    name = "unit_in_the_way"
    code = 290


class UserUnits:
    """Attributes:
    folder: where the user's own units are.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Raises InvalidSettings: neither XDG_CONFIG_HOME nor HOME says where they are."""
        base, home = environ.get("XDG_CONFIG_HOME", ""), environ.get("HOME", "")
        if not (base.startswith("/") or home.startswith("/")):
            raise InvalidSettings("HOME is not set, so there is no place for units; set it", variable="HOME")
        self.folder = Path(base if base.startswith("/") else f"{home}/.config", "systemd", "user")
        self._environ = environ

    def wanted(self) -> dict[Path, str]:
        """What belongs there: file → text."""
        texts = {name: (SHIPPED / name).read_text(encoding="utf-8") for name in (SERVICE, SOCKET)}
        if drop_in := self._drop_in(texts[SERVICE]):
            texts[DROP_IN] = drop_in
        return {self.folder / name: _marked(text) for name, text in texts.items()}

    def present(self) -> list[Path]:
        """Those of ours that are there.

        Raises:
            UnitInTheWay: one that is there is not ours. InvalidSettings: one cannot be read.
        """
        with self._allowed("read"):
            paths = [self.folder / name for name in (SERVICE, SOCKET, DROP_IN)]
            found = [path for path in paths if there(path, follow=False)]
            for path in found:
                if not _ours(path):
                    text = (
                        f"{path} was not put there by `roost daemon install`, or was changed since; move it away first"
                    )
                    raise UnitInTheWay(text, path=str(path))
        return found

    def put(self) -> list[Path]:
        """Put in place what belongs there, and nothing else of ours; the files that were not so before.

        Raises:
            UnitInTheWay: before anything was changed. InvalidSettings: one cannot be read or written.
        """
        wanted, present = self.wanted(), self.present()
        stale = [path for path in present if path not in wanted]
        changed = [path for path, text in wanted.items() if path not in present or path.read_text() != text]
        with self._allowed("changed"):
            self._remove(stale)
            for path in changed:
                path.parent.mkdir(parents=True, exist_ok=True)
                new = path.with_name(f".{path.name}.new")
                new.write_text(wanted[path], encoding="utf-8")
                new.replace(path)
        return changed + stale

    def take(self) -> list[Path]:
        """Take away what is ours; the files that are gone.

        Raises:
            UnitInTheWay: before anything was changed. InvalidSettings: one cannot be read or written.
        """
        present = self.present()
        with self._allowed("changed"):
            self._remove(present)
        return present

    @contextmanager
    def _allowed(self, what: str) -> Generator[None]:
        try:
            yield
        except OSError as exc:
            text = f"the units in {self.folder} cannot be {what} ({exc.filename}: {exc.strerror}); correct that"
            raise InvalidSettings(text, path=exc.filename, reason=exc.strerror) from exc

    def _remove(self, paths: list[Path]) -> None:
        for path in paths:
            path.unlink()
            if path.parent != self.folder and not any(path.parent.iterdir()):
                path.parent.rmdir()

    def _drop_in(self, service: str) -> str:
        """What the shipped service cannot know; empty where it finds everything by itself."""
        told = "".join(f'Environment="{name}={value}"\n' for name, value in self._environment(service))
        return f"# What roost.service does not find by itself.\n[Service]\n{told}" if told else ""

    def _environment(self, service: str) -> Iterator[tuple[str, str]]:
        home = self._environ.get("HOME", "")
        (path,) = re.findall(r"^Environment=PATH=(.*)$", service, re.MULTILINE)
        own = _roostd()
        found = shutil.which("roostd", path=path.replace("%h", home))
        if found is None or not os.path.samefile(found, own):
            yield "PATH", f"{_escaped(str(own.parent))}:{path}"
        # The sessions that there are must be those that the service sees.
        state = resolve(self._environ).state
        if state != f"{home}/.local/state/roost":
            yield STATE_VARIABLE, _escaped(state)


def there(path: Path, *, follow: bool = True) -> bool:
    """Raises OSError if nobody can tell."""
    try:
        path.stat(follow_symlinks=follow)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _roostd() -> Path:
    """The program that belongs to this command.

    Raises:
        InvalidSettings: there is none beside it.
    """
    beside = [Path(sys.argv[0]).absolute().parent / "roostd", Path(sys.executable).parent / "roostd"]
    for path in beside:
        if os.access(path, os.X_OK):
            return path
    text = f"roostd is not beside this command ({' or '.join(map(str, beside))}); install roost with pip, pipx or uv"
    raise InvalidSettings(text, path=str(beside[-1]))


def _escaped(text: str) -> str:
    """As it stands in double quotes of a unit."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")


def _marked(text: str) -> str:
    """``text`` below a line by which it is known again, as long as nobody changes it."""
    return f"{_MARK}{hashlib.sha256(text.encode()).hexdigest()[:16]}\n{text}"


def _ours(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    content = path.read_bytes().decode("utf-8", "replace")
    shipped = SHIPPED / path.name
    # Copied by hand from this version, as the manual said before there was this command.
    copied = shipped.is_file() and content == shipped.read_text(encoding="utf-8")
    return copied or content == _marked(content.partition("\n")[2])
