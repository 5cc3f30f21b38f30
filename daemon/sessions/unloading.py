"""Unloading: a session that no client uses is saved and gives up its child."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import trio

from ...protocol.errors import RoostError
from ..core.states import Life
from ..core.unload import Candidate, choose
from ..current import Current
from ..waiting.guard import guarded
from ..waiting.mailbox import ANSWER
from .session import LiveSession

log = logging.getLogger(__name__)


class Unloading:
    """Of the live sessions, the ones idle for long, and the least recently used beyond ``max_live``."""

    def __init__(self, settings: Current, live: Mapping[str, LiveSession]) -> None:
        self._settings = settings
        self._live = live

    def due(self, idle: float) -> list[str]:
        """The sessions to unload now; ``idle`` in seconds. A session without a child takes no place, but memory."""
        now, limit = trio.current_time(), self._settings.limits.max_live
        found: dict[bool, list[Candidate]] = {True: [], False: []}
        for live in self._live.values():
            if live.stop.reason is None:
                with_child = live.child.resident or live.life is Life.starting
                found[with_child].append(Candidate(live.id, live.used_at, live.busy))
        return choose(found[True], now=now, idle=idle, max_live=limit) + choose(
            found[False], now=now, idle=idle, max_live=0
        )

    def make_room(self, start: Callable[..., Any]) -> None:
        """Unload the least recently used beyond ``max_live``, in tasks of their own; never one that runs a turn."""
        for session_id in self.due(idle=float("inf")):
            start(guarded, f"unload of {session_id}", self.unload, session_id, "max_live")

    async def unload(self, session_id: str, reason: str) -> bool:
        """Save and stop a session that no client uses. False: it stays, and is looked at again at the next sweep."""
        live = self._live.get(session_id)
        if live is None:
            return False
        try:
            done = await live.ask(lambda: live.stop.unload(reason), otherwise=False, within=ANSWER)
            if done:
                await live.child.unless_stuck(live.wait_over)
        except RoostError as exc:
            log.warning("session %s stays loaded: %s", session_id, exc)
            return False
        return done
