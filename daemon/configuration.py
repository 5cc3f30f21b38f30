"""Where settings come from: the TOML file and the environment, and the place in them to blame for a value."""

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..protocol.errors import InvalidSettings

Key = tuple[str | int, ...]
"""The way to a value, table by table: ``("limits", "max_live")``."""

SHORT = {
    "ROOST_STATE_DIRECTORY": ("daemon", "state_directory"),
    "ROOST_SOCKET": ("daemon", "socket"),
    "ROOST_LOG_LEVEL": ("daemon", "log_level"),
}
"""Variables that every user meets, and the keys they stand for."""

_TOO_MUCH = "a number in it is too long, or its lists are nested too deeply"


@dataclass(frozen=True)
class Configuration:
    """What the user wrote, unchecked.

    Attributes:
        table: sections and keys, the environment's over the file's.
        variables: which variable a key came from, for those that came from one.
        file: the file that was read, and its ``text``; None if there is none.
    """

    table: dict[str, Any]
    variables: dict[Key, str]
    file: Path | None
    text: str

    def where(self, key: Key) -> dict[str, Any]:
        """The culprit as an error's data names it: ``variable``, or ``file`` and ``line``."""
        if variable := self.variables.get(key[:2]):
            return {"variable": variable}
        return {"file": str(self.file), "line": line_of(self.text, key)}


def read(environ: Mapping[str, str], sections: Collection[str]) -> Configuration:
    """Read the file that ``environ`` names, and the overrides in it.

    Args:
        sections: those whose keys variables may set.

    Raises:
        InvalidSettings: a file that was named is missing, it cannot be read, or is not TOML.
    """
    file, named = _file(environ)
    text = _text(file, named)
    table = _parsed(file, text)
    variables: dict[Key, str] = {}
    for name, value in environ.items():
        key = _key(name, sections)
        if key and value:
            section(table, key[0])[key[1]] = value if name in SHORT else _scalar(value)
            variables[key] = name
    return Configuration(table, variables, file if text is not None else None, text or "")


def section(table: dict[str, Any], name: str) -> dict[str, Any]:
    """The table of that name, made if there is none; what is no table is left where it is, to be refused."""
    found = table.setdefault(name, {})
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}


def line_of(text: str, key: Key) -> int:
    """The line of ``text``, counted from 1, where the statement begins that makes ``key`` or the nearest above it.

    TOML knows the answer: the first lines of a document are a document wherever a statement ends.
    """
    lines = text.splitlines(keepends=True)
    begin, found, depth = 0, 1, 0
    for end in range(1, len(lines) + 1):
        try:
            table = tomllib.loads("".join(lines[:end]))
        except (ValueError, RecursionError):
            continue
        if (reached := _depth(table, key)) > depth:
            depth, found = reached, begin + 1
        begin = end
    return found


def _depth(value: Any, key: Key) -> int:
    """How many steps of ``key`` there are in ``value``."""
    if not key or not isinstance(value, dict) or key[0] not in value:
        return 0
    return 1 + _depth(cast(Any, value[key[0]]), key[1:])


def _file(environ: Mapping[str, str]) -> tuple[Path | None, bool]:
    """The file, and whether somebody named it, so that it must be there."""
    if named := environ.get("ROOST_CONFIG"):
        return Path(named), True
    if given := environ.get("CONFIGURATION_DIRECTORY", "").partition(":")[0]:
        return Path(given, "roost.toml"), False
    base, home = environ.get("XDG_CONFIG_HOME", ""), environ.get("HOME", "")
    if base.startswith("/"):
        return Path(base, "roost", "roost.toml"), False
    return (Path(home, ".config", "roost", "roost.toml") if home else None), False


def _text(file: Path | None, named: bool) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        if not named:
            return None
        raise _unreadable(file, "it does not exist") from None
    except OSError as error:
        raise _unreadable(file, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise _unreadable(file, "it is not UTF-8") from error


def _unreadable(file: Path | None, reason: str) -> InvalidSettings:
    text = f"the settings {file} cannot be read: {reason}; correct that, or name another file in ROOST_CONFIG"
    return InvalidSettings(text, file=str(file), reason=reason)


def _parsed(file: Path | None, text: str | None) -> dict[str, Any]:
    try:
        return tomllib.loads(text or "")
    except tomllib.TOMLDecodeError as error:
        line = _error_line(str(error), text or "")
        raise InvalidSettings(f"{file}:{line}: {error}; correct the TOML", file=str(file), line=line) from error
    except (ValueError, RecursionError) as error:  # what its parser tells by no error of its own
        raise _unreadable(file, _TOO_MUCH) from error


def _error_line(message: str, text: str) -> int:
    """tomllib tells the line in words only: ``… (at line 3, column 5)`` or ``… (at end of document)``."""
    _, _, told = message.rpartition("(at line ")
    number = told.partition(",")[0]
    return int(number) if number.isdecimal() else max(1, len(text.splitlines()))


def _key(variable: str, sections: Collection[str]) -> tuple[str, str] | None:
    """The key that a variable sets: ROOST_<SECTION>_<KEY>. None: it is no setting."""
    if variable in SHORT:
        return SHORT[variable]
    prefix, _, rest = variable.partition("_")
    head, _, name = rest.lower().partition("_")
    return (head, name) if prefix == "ROOST" and name and head in sections else None


def _scalar(value: str) -> Any:
    """``value`` as TOML reads it; what TOML does not read is a string."""
    try:
        read = tomllib.loads(f"value = {value}")
    except (ValueError, RecursionError):
        return value
    return read["value"] if len(read) == 1 else value
