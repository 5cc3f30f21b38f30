"""The connection, the daemon and its engines: the params and results of their verbs."""

from typing import Any, Literal

from pydantic import Field

from .model import Check, DurationMs, Engine, Noun, ProcessStats, UnixMs
from .params import Params
from .rpc import MAX_MSGID

PROTOCOL = 1
"""Version of the wire protocol; it is not the version of the program."""


# --- the connection ---


class ClientInfo(Params):
    name: str = Field(max_length=64)
    version: str = Field(default="", max_length=64)


class HelloParams(Params):
    protocol: int = Field(le=2**53)
    client: ClientInfo


class ServerInfo(Noun):
    name: str
    version: str


class LimitsInfo(Noun):
    frame: int = Field(description="bytes of one message")
    nesting: int = Field(description="depth of arrays and maps")
    pending: int = Field(description="requests of one connection that are not answered yet")
    prompt: int = Field(description="bytes of one prompt in UTF-8")
    result: int = Field(description="bytes of one result or event")
    queue: int = Field(description="queued turns of one session")


class HelloResult(Noun):
    protocol: int
    server: ServerInfo
    capabilities: list[str]
    limits: LimitsInfo


class CancelParams(Params):
    msgid: int = Field(ge=0, le=MAX_MSGID)


class DiscoverResult(Noun):
    openrpc: dict[str, Any]


# --- the daemon ---


class StorageStatus(Noun):
    ok: bool
    path: str
    problem: dict[str, Any] | None = Field(default=None, description="why writing fails, if it does")


class DaemonStatusResult(Noun):
    pid: int
    version: str
    phase: Literal["running", "stopping", "refused"]
    started_at: UnixMs
    uptime: DurationMs
    state_directory: str
    socket: str
    storage: StorageStatus
    sessions: int = Field(description="sessions with a child, or on the way to or from one")
    running: int = Field(description="turns that run")
    queued: int = Field(description="turns that wait, those on hold included")
    held: int = Field(description="sessions on hold")
    clients: int
    subscriptions: int
    checks: list[Check] = Field(description="what this host can do for its sessions, and what it cannot")


class DaemonStatsResult(Noun):
    counters: dict[str, int] = Field(description="since the daemon started")
    in_flight: dict[str, DurationMs] = Field(description="session → how long the queue runner has been driving it")
    processes: list[ProcessStats] = Field(description="the daemon's own first, then one for each child")


class ShutdownParams(Params):
    reason: str = Field(default="user", max_length=200)


class ReloadResult(Noun):
    changed: list[str] = Field(description="settings that hold from now on")
    restart: list[str] = Field(description="settings that changed and hold after a restart of the daemon")


class EngineListResult(Noun):
    engines: list[Engine]
