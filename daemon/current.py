"""The settings that hold now: one owner a daemon. All others ask it each time, so that a reload reaches them."""

from collections.abc import Callable
from typing import NoReturn

import trio

from ..protocol.errors import InvalidSettings
from ..protocol.service import ReloadResult
from .settings import (
    CheckpointSettings,
    DaemonSettings,
    EngineSettings,
    LimitSettings,
    RetentionSettings,
    SessionSettings,
    Settings,
)
from .waiting.awaited import Change
from .waiting.deadline import in_thread

LIVE = frozenset({"log_level", "stop_deadline"})
"""Keys of the section ``daemon`` that a reload changes; the others belong to the place that was taken at the start."""
READING = 10.0
"""Seconds that the file has to be read."""


class Current:
    """What is frozen is each :class:`Settings`; which of them holds is told here.

    Args:
        read: what is written now. Blocking; None: there is nothing to read again.

    Attributes:
        now: the whole of what holds.
    """

    def __init__(self, settings: Settings, read: Callable[[], Settings] | None = None) -> None:
        self.now = settings
        self._read = read or (lambda: settings)
        self._reader = trio.CapacityLimiter(1)
        self._changed = Change()

    @property
    def daemon(self) -> DaemonSettings:
        return self.now.daemon

    @property
    def limits(self) -> LimitSettings:
        return self.now.limits

    @property
    def sessions(self) -> SessionSettings:
        return self.now.sessions

    @property
    def checkpoints(self) -> CheckpointSettings:
        return self.now.checkpoints

    @property
    def retention(self) -> RetentionSettings:
        return self.now.retention

    @property
    def engines(self) -> dict[str, EngineSettings]:
        return self.now.engines

    async def reload(self) -> ReloadResult:
        """Read the settings again; what can hold without a restart holds from now on, all of it or nothing.

        Raises:
            InvalidSettings, SocketPathTooLong: those that held still do.
        """
        written, before = await self._written(), self.now
        live = {key: getattr(written.daemon, key) for key in LIVE}
        self.now = written.model_copy(update={"daemon": before.daemon.model_copy(update=live)})
        self._changed.tell()
        return ReloadResult(changed=_different(before, self.now), restart=_different(self.now, written))

    async def wait_changed(self) -> None:
        """Until the next reload."""
        await self._changed.wait()

    async def _written(self) -> Settings:
        def late() -> NoReturn:
            text = f"the settings could not be read within {READING:g} s; look at the file system that they are on"
            raise InvalidSettings(text, reason="timed_out")

        return await in_thread(self._read, within=READING, otherwise=late, limiter=self._reader)


def _different(one: Settings, other: Settings) -> list[str]:
    """The settings in which they differ; an engine counts as one."""
    had, has = _flat(one), _flat(other)
    return sorted(name for name in had.keys() | has.keys() if had.get(name) != has.get(name))


def _flat(settings: Settings) -> dict[str, object]:
    return {
        f"{section}.{key}": value
        for section in Settings.model_fields
        for key, value in dict(getattr(settings, section)).items()
    }
