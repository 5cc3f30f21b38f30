"""The verbs on turns, as their owner does them: sent, cancelled, waited for."""

from functools import partial

from ...protocol.errors import InvalidParams
from ...protocol.methods import TurnCancelResult, TurnSendParams, TurnSendResult
from ...protocol.model import DAEMON, Author, Turn
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
        """Queue a prompt of the session and the turn whose ids ``params`` has."""
        self._registry.admit()
        self.check_size(params.input)
        turn, held, ahead = await self._registry.store.write(
            lambda tx: turns.send(
                tx,
                params.session,
                input=params.input,
                timeout=params.timeout,
                idle_timeout=params.idle_timeout,
                retry_of=params.retry_of,
                key=params.key,
                author=author,
                limit=self._settings.limits.queue,
            )
        )
        return TurnSendResult(turn=turn, held=held, ahead=ahead)

    def check_size(self, prompt: str) -> None:
        """Raises InvalidParams if it is longer than a prompt may be."""
        size, limit = len(prompt.encode("utf-8", "replace")), self._settings.limits.prompt
        if size > limit:
            text = f"the prompt has {size} bytes and may have {limit}; put the rest into a file of the workspace"
            raise InvalidParams(text, field="input", bytes=size, limit=limit)

    async def cancel(self, turn_id: str, reason: str, author: Author = DAEMON) -> TurnCancelResult:
        turn, outcome = await self._registry.owned(partial(self._cancel, turn_id, reason, author))
        return TurnCancelResult(turn=turn, outcome=outcome)

    async def _cancel(self, turn_id: str, reason: str, author: Author) -> tuple[Turn, turns.Outcome]:
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
