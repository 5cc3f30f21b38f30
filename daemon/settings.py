"""Every setting there is, its unit and its default; read from a TOML file and the environment, then frozen."""

import os
import re
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ..protocol import paths, sizes
from ..protocol.errors import InvalidSettings, SecretMissing
from ..protocol.model import EngineKind, Label, Limits
from . import configuration
from .configuration import Configuration, Key

UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
SOURCES = ("env", "file", "credential")


def _seconds(value: object) -> object:
    if isinstance(value, str):
        told = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", value)
        if told is None or told[2] not in UNITS:
            raise ValueError('must be a number of seconds, or a string like "500ms", "30s", "5min" or "2h"')
        return float(told[1]) * UNITS[told[2]]
    return value


def _size(value: object) -> object:
    if isinstance(value, str):
        try:
            return sizes.parse(value)
        except ValueError:
            raise ValueError('must be a number of bytes, or a string like "512MiB", "2GiB" or "1G"') from None
    return value


def _cgroup(value: object) -> object:
    if value not in ("auto", "off") and not (isinstance(value, str) and value.startswith("/") and "\0" not in value):
        raise ValueError('must be "auto", "off", or the absolute path of a cgroup\'s folder')
    return value


def _absolute(value: object) -> object:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError("must be an absolute path")
    return Path(value)


def _source(value: str) -> str:
    kind, _, name = value.partition(":")
    if kind not in SOURCES or not name:
        # Not the value: somebody may have written the secret itself here.
        raise ValueError('must be "env:NAME", "file:/path" or "credential:NAME"')
    return value


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0, allow_inf_nan=False)]
Period = Annotated[float, BeforeValidator(_seconds), Field(ge=0.01, allow_inf_nan=False)]
"""Seconds between two ticks, or for one wait: a period of 0 would never let go of the processor."""
Count = Annotated[int, Field(ge=1, le=2**53)]
Size = Annotated[int, BeforeValidator(_size), Field(ge=1, le=sizes.LARGEST)]
"""Bytes."""
AbsolutePath = Annotated[Path, BeforeValidator(_absolute)]
Variable = Annotated[str, Field(pattern=r"^[^=\x00]+$")]


class Section(BaseModel):
    """A part of the settings. Unknown keys and wrong types are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class DaemonSettings(Section):
    """The paths are always resolved, whoever named them."""

    state_directory: AbsolutePath
    socket: AbsolutePath
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    allowed_uids: Annotated[tuple[int, ...], Field(strict=False)] = ()
    stop_deadline: Seconds = 120.0
    cgroup: Annotated[str, BeforeValidator(_cgroup)] = "auto"


class LimitSettings(Section):
    """Counts, and sizes in bytes. ``queue``: turns of one session; ``max_output``: of one turn."""

    max_live: int = Field(default=256, ge=0, le=2**53, description="0: no limit")
    max_running_turns: Count = 256
    queue: Count = 50_000
    prompt: int = Field(default=1_000_000, ge=1, le=1_000_000)  # a turn is told whole, in a result of 1 MiB at most
    max_output: Count = 64 * 1024 * 1024
    clients: Count = 256
    start_timeout: Period = 30.0
    request_frame: int = Field(default=16 * 1024 * 1024, ge=4096, le=2**53)
    unenforceable: Literal["say", "refuse"] = "say"


class SessionSettings(Section):
    """``stop_grace`` lies between asking a child to end and SIGTERM, ``term_grace`` between that and SIGKILL.

    Its stdin is closed when it has answered, or after half of ``stop_grace``.
    """

    default_engine: str = "shell"
    idle_unload: Seconds = 1800.0
    idle_sweep: Period = 300.0
    cancel_grace: Seconds = 5.0
    stop_grace: Seconds = 5.0
    term_grace: Seconds = 2.0
    poll: Period = 0.4
    restart_intensity: Count = 5
    restart_period: Period = 60.0
    rearm: Seconds = 300.0


class CheckpointSettings(Section):
    batch: Count = 50
    batch_timeout: Period = 30.0
    parallel_batches: Count = 4


class RetentionSettings(Section):
    """``max_age``: seconds; None keeps by count only."""

    events_per_session: Count = 1_000_000
    turns_per_session: Count = 100_000
    max_age: Period | None = None
    sweep: Period = 3600.0


@lru_cache(64)
def _limits(memory_max: int | None, pids_max: int | None, cpu_max: float | None, nofile: int | None) -> Limits:
    """One object for all sessions that have the same."""
    return Limits(memory_max=memory_max, pids_max=pids_max, cpu_max=cpu_max, nofile=nofile)


class EngineSettings(Section):
    """How to run a session's child. ``env_from`` names secrets; see :func:`secrets`."""

    kind: Annotated[EngineKind, Field(strict=False)] = EngineKind.worker
    command: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    prompt: Literal["argument", "stdin"] = "argument"
    env: dict[Variable, str] = {}
    env_from: dict[Variable, Annotated[str, AfterValidator(_source)]] = {}
    memory_max: Size | None = None
    pids_max: Count | None = None
    cpu_max: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    nofile: Count | None = None

    @property
    def limits(self) -> Limits:
        """What holds for its sessions that have no limits of their own."""
        return _limits(self.memory_max, self.pids_max, self.cpu_max, self.nofile)


class Settings(Section):
    daemon: DaemonSettings
    limits: LimitSettings = LimitSettings()
    sessions: SessionSettings = SessionSettings()
    checkpoints: CheckpointSettings = CheckpointSettings()
    retention: RetentionSettings = RetentionSettings()
    engines: dict[Label, EngineSettings]


SECTIONS: dict[str, type[Section]] = {
    "daemon": DaemonSettings,
    "limits": LimitSettings,
    "sessions": SessionSettings,
    "checkpoints": CheckpointSettings,
    "retention": RetentionSettings,
}
"""The sections whose keys are fixed; ``engines`` has a table for each name."""


def load(
    environ: Mapping[str, str],
    *,
    file: str | None = None,
    state_directory: str | None = None,
    socket: str | None = None,
    log_level: str | None = None,
) -> Settings:
    """The settings that the arguments, ``environ`` and the file give, in this order.

    Raises:
        InvalidSettings: names the file and line, or the variable, and what is expected there.
        SocketPathTooLong: the kernel does not take the socket's path.
    """
    given = {
        "ROOST_CONFIG": file,
        "ROOST_STATE_DIRECTORY": state_directory and os.path.abspath(state_directory),
        "ROOST_SOCKET": socket and os.path.abspath(socket),
        "ROOST_LOG_LEVEL": log_level,
    }
    environ = {**environ, **{name: value for name, value in given.items() if value}}
    found = configuration.read(environ, SECTIONS)
    _complete(found.table, environ)
    try:
        settings = Settings.model_validate(found.table)
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False)
        # A key that is missing may be one that was misspelt.
        worst = min(mistakes, key=lambda mistake: mistake["type"] != "extra_forbidden")
        raise _refused(found, worst["loc"], worst["type"], worst["msg"]) from None
    if settings.sessions.default_engine not in settings.engines:
        text = f"must be one of {', '.join(sorted(settings.engines))}"
        raise _refused(found, ("sessions", "default_engine"), "value_error", text)
    return settings


def _complete(table: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Add what has no constant default: the paths and the built-in engines."""
    daemon = configuration.section(table, "daemon")
    for name in ("state_directory", "socket"):
        if isinstance(value := daemon.get(name), str):
            daemon[name] = paths.at_home(value, environ)
    socket = daemon.get("socket")
    # A directory that only the file names leaves the socket where clients, who do not read the file, look for it.
    resolved = paths.resolve(environ, socket=socket if isinstance(socket, str) else None, service=True)
    daemon.setdefault("state_directory", resolved.state)
    daemon.setdefault("socket", resolved.socket)
    for name in ("shell", "thinking"):
        engine = configuration.section(configuration.section(table, "engines"), name)
        # -P: a queue.py in the workspace must not be imported in place of the standard library's.
        engine.setdefault("command", [sys.executable, "-P", "-m", f"roost.worker.{name}"])


def _refused(found: Configuration, key: Key, kind: str, message: str) -> InvalidSettings:
    # pydantic marks a wrong key of a map, as against a wrong value, with a last step of its own.
    key = tuple(step for step in key if step != "[key]")
    name = ".".join(map(str, key))
    if kind == "extra_forbidden":
        what = f"there is no setting {name}; {_nearest(key)}"
    elif kind == "missing":
        what = f"{name} is missing; add it"
    else:
        told = re.sub(r"^(Value error, |\w+ should (?=\w))", "", message).replace("a valid tuple", "a list")
        told = re.sub(r"a valid dictionary.*", "a table", told)
        what = f"{name} {told if told.startswith('must') else f'must {told}'}; correct it"
    where = found.where(key)
    place = where.get("variable") or f"{where['file']}:{where['line']}"
    return InvalidSettings(f"{place}: {what}", key=name, **where)


def _nearest(key: Key) -> str:
    """What somebody who wrote this unknown ``key`` may have meant."""
    from difflib import get_close_matches

    section, name = str(key[0]), str(key[-1])
    if len(key) == 1:
        known = list(Settings.model_fields)
    else:
        known = list((SECTIONS.get(section) or EngineSettings).model_fields)
    elsewhere = [f"{other}.{name}" for other, model in SECTIONS.items() if name in model.model_fields]
    near = get_close_matches(name, known, n=1) or elsewhere
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"


def at(settings: Settings, socket: str) -> Settings:
    """The same settings, with the path of a socket that was handed over and that nobody here named."""
    daemon = settings.daemon.model_copy(update={"socket": Path(socket)})
    return settings.model_copy(update={"daemon": daemon})


def secrets(env_from: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Resolve the named secrets: variable → value. Blocking; the values are for a child's environment and nothing else.

    Raises:
        SecretMissing: names the variable and the source, never the value.
    """
    return {variable: _secret(variable, source, environ) for variable, source in env_from.items()}


def _secret(variable: str, source: str, environ: Mapping[str, str]) -> str:
    kind, _, name = source.partition(":")
    try:
        if kind == "env":
            value = environ[name]
        else:
            folder = environ["CREDENTIALS_DIRECTORY"] if kind == "credential" else "/"
            value = Path(folder, name).read_text(encoding="utf-8").removesuffix("\n")
    except KeyError as error:
        reason = f"{error.args[0]} is not set"
    except OSError as error:
        reason = error.strerror or "it cannot be read"
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    else:
        if "\0" not in value:
            return value
        reason = "it holds a zero byte"
    # Raised here, so that no error in its context holds the value.
    text = f"the secret {variable} cannot be had from {source}: {reason}; provide it and start the session again"
    raise SecretMissing(text, variable=variable, source=source, reason=reason)
