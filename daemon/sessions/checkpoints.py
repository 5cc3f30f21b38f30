"""The verbs on engines' states, as their owner does them: told, cleared, saved under a name."""

from functools import partial
from typing import Any

from ...protocol import rpc
from ...protocol.errors import CheckpointNotFound, NotSupported
from ...protocol.methods import SessionStateResult
from ...protocol.model import DAEMON, Author, Checkpoint, EngineKind, Session
from ..core.result import check_size
from ..store import checkpoints
from ..waiting.mailbox import ANSWER
from .registry import Registry
from .session import LiveSession


class Checkpoints:
    """Of all sessions. A child that lives is asked; else the saved state is the truth."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def state(self, session_id: str, name: str) -> SessionStateResult:
        """The state as the child tells it, or as it was saved under ``name``."""
        live = self._resident(session_id)
        if name == "latest" and live is not None:
            told = await live.ask(live.state.told, otherwise=None, within=ANSWER)
            if told is not None:
                packed, through = told
                return SessionStateResult(source="live", through_turn=through, at=None, state=_sendable(packed))
        saved = await self._registry.store.read(lambda conn: checkpoints.load(conn, session_id, name))
        if saved is None:
            if name != "latest":
                raise _no_checkpoint(session_id, name)
            return SessionStateResult(source="none", through_turn=None, at=None, state=None)
        kept, packed = saved
        return SessionStateResult(
            source="checkpoint", through_turn=kept.through_turn, at=kept.at, state=_sendable(packed)
        )

    async def clear(self, session_id: str, author: Author = DAEMON) -> Session:
        """Empty it, in the child and where it is saved.

        Raises:
            NotSupported, SessionBusy, TimedOut
        """
        if self._registry.record(session_id).kind is EngineKind.command:
            raise NotSupported(f"session {session_id} is of kind command: it has no state", session=session_id)
        await self._registry.owned(partial(self._clear, session_id, author))
        return self._registry.record(session_id)

    async def _clear(self, session_id: str, author: Author) -> None:
        async with self._registry.alone(session_id):
            live = self._registry.live.get(session_id)
            if live is not None and await live.ask(partial(live.state.clear, author), otherwise=False, within=ANSWER):
                return
            await self._registry.wait_over(session_id)
            await self._registry.store.write(lambda tx: checkpoints.clear(tx, session_id, None, author))

    async def save(self, session_id: str, name: str, author: Author = DAEMON) -> Checkpoint:
        """Save the live state under ``name``, or copy the latest saved one when there is no child."""
        live = self._resident(session_id)
        if live is not None:
            made = await live.ask(partial(self._saved, live, name, author), otherwise=None, within=ANSWER)
            if made is not None:
                return made
        store = self._registry.store
        saved = await store.read(lambda conn: checkpoints.load(conn, session_id, "latest"))
        if saved is None:
            text = f"session {session_id} has no state yet; a prompt gives it one: `roost send {session_id} PROMPT`"
            raise CheckpointNotFound(text, session=session_id, checkpoint="latest")
        latest, packed = saved
        if name == "latest":
            return latest
        return await store.write(
            lambda tx: checkpoints.save(
                tx, session_id, name=name, state=packed, through_turn=latest.through_turn, author=author
            )
        )

    async def _saved(self, live: LiveSession, name: str, author: Author) -> Checkpoint:
        if not live.child.saves:
            raise NotSupported(f"the engine of session {live.id} has no state that can be saved", session=live.id)
        return await live.state.save(name, author)

    def _resident(self, session_id: str) -> LiveSession | None:
        live = self._registry.live.get(session_id)
        return live if live is not None and live.child.resident else None


def _sendable(packed: bytes) -> Any:
    """A state that is told. A state that is too large is not unpacked: that would hold up all others, for nothing.

    Raises:
        ResultTooLarge.
    """
    check_size("session.state", len(packed))
    return rpc.unpack(packed)


def _no_checkpoint(session_id: str, name: str) -> CheckpointNotFound:
    text = f"session {session_id} has no checkpoint {name!r}; `roost checkpoint {session_id} --list` lists them"
    return CheckpointNotFound(text, session=session_id, checkpoint=name)
