"""The verbs on turns, as their owner does them: sent, cancelled, waited for."""

from functools import partial

from ...protocol.errors import InvalidParams
from ...protocol.methods import TurnCancelResult, TurnSendParams, TurnSendResult
from ...protocol.model import Author, Turn
from ..core.states import TURN
from ..current import Current
from ..store import reads, turns
from .registry import Registry


class Prompts:
    """Of all sessions."""

    def __init__(self, registry: Registry, settings: Current) -> None:
        self._registry = registry
        self._settings = settings

    async def send(self, params: TurnSendParams, author: Author) -> TurnSendResult:
        self._registry.admit()
        if self._registry.records.get(params.session) is None or params.retry_of:
            # Something must be read first: a client that leaves meanwhile has sent it all the same.
            return await self._registry.owned(partial(self._send, params, author))
        return await self._send(params, author)

    async def _send(self, params: TurnSendParams, author: Author) -> TurnSendResult:
        session = await self._registry.find(params.session)
        self.check_size(params.input)
        retry_of = (await self._find(params.retry_of)).id if params.retry_of else None
        turn, held, ahead = await self._registry.store.write(
            lambda tx: turns.send(
                tx,
                session.id,
                input=params.input,
                timeout=params.timeout,
                idle_timeout=params.idle_timeout,
                retry_of=retry_of,
                key=params.key,
                author=author,
                limit=self._settings.limits.queue,
            )
        )
        return TurnSendResult(turn=turn, held=held, ahead=ahead)

    async def _find(self, ref: str) -> Turn:
        return await self._registry.store.read(lambda conn: reads.turn(conn, ref))

    def check_size(self, prompt: str) -> None:
        """Raises InvalidParams if it is longer than a prompt may be."""
        size, limit = len(prompt.encode("utf-8", "replace")), self._settings.limits.prompt
        if size > limit:
            text = f"the prompt has {size} bytes and may have {limit}; put the rest into a file of the workspace"
            raise InvalidParams(text, field="input", bytes=size, limit=limit)

    async def cancel(self, turn_id: str, reason: str, author: Author | None) -> TurnCancelResult:
        turn, outcome = await self._registry.owned(partial(self._cancel, turn_id, reason, author))
        return TurnCancelResult(turn=turn, outcome=outcome)

    async def _cancel(self, turn_id: str, reason: str, author: Author | None) -> tuple[Turn, turns.Outcome]:
        turn, outcome = await self._registry.store.write(
            lambda tx: turns.request_cancel(tx, turn_id, reason=reason, author=author)
        )
        if outcome == "requested" and (live := self._registry.live.get(turn.session)):
            live.running.cancel(turn_id, turn.cancelling or reason)
        return turn, outcome

    async def wait(self, turn_id: str) -> Turn:
        """The turn once it has ended."""
        while True:
            with self._registry.records.changed.next(turn_id) as ended:
                turn = await self._registry.store.read(lambda conn: reads.turn(conn, turn_id))
                if TURN.terminal(turn.state):
                    return turn
                await ended.wait()
