"""From a request to its handler: it is admitted, validated, and the sessions and turns that it names are resolved.

A reference is an id, the start of one, or a name: before the handler it is the id.
"""

from collections.abc import Coroutine
from functools import partial
from typing import Any, get_args

from ...protocol.errors import MethodNotFound, ShuttingDown
from ...protocol.methods import METHODS, Method
from ...protocol.params import Params, Reference
from ..store import reads
from .answer import Result
from .client import Client, Rooms
from .handlers import HANDLERS
from .params import nearest, shown, validated

Answer = Result | Coroutine[Any, Any, Result]


def handled(client: Client, method: str, raw: dict[str, Any]) -> Answer:
    """The result of a request, or a coroutine that has to wait for it.

    Raises:
        MethodNotFound: names the nearest method.
        ShuttingDown, DatabaseRefused: not now.
        InvalidParams, and what the handler raises.
    """
    row = _admitted(client.rooms, method)
    params = validated(method, row.params, raw)
    wanted: list[tuple[str, str]] | None = None
    for field, noun in _REFERENCES[method]:
        ref = getattr(params, field)
        if ref is None:
            continue
        session = client.rooms.supervisor.records.get(ref) if noun == "session" else None
        if session is None:
            wanted = [*(wanted or ()), (field, noun)]
        elif session.id != ref:
            params = params.model_copy(update={field: session.id})
    if wanted is None:
        return HANDLERS[method](client, params)
    found = partial(_found, client, method, params, wanted)
    # A prompt is sent, and any other change is made, also when the client leaves while the store is read.
    return client.rooms.supervisor.registry.owned(found) if row.changes else found()


async def _found(client: Client, method: str, params: Params, wanted: list[tuple[str, str]]) -> Result:
    """The result of a request whose references have to be looked up."""
    registry = client.rooms.supervisor.registry
    ids: dict[str, str] = {}
    for field, noun in wanted:
        ref = getattr(params, field)
        if noun == "session":
            ids[field] = (await registry.find(ref)).id
        else:
            turn = await client.rooms.store.read(partial(reads.turn, ref=ref))
            ids[field] = turn.id
            await registry.find(turn.session)  # in memory from now on
    answer = HANDLERS[method](client, params.model_copy(update=ids))
    return await answer if isinstance(answer, Coroutine) else answer


def _admitted(rooms: Rooms, method: str) -> Method:
    row = METHODS.get(method)
    if row is None:
        meant = nearest(method, METHODS)
        hint = f"did you mean {meant}?" if meant else "rpc.discover lists them all"
        raise MethodNotFound(f"there is no method {shown(method)!r}; {hint}", method=shown(method), nearest=meant)
    if rooms.refused is not None and not row.always:
        raise rooms.refused
    if rooms.stopping is not None and row.changes:
        raise ShuttingDown(f"roostd is stopping ({rooms.stopping}); try again when it is back")
    return row


def _references(params: type[Params]) -> tuple[tuple[str, str], ...]:
    """The fields that name a session or a turn, each with its noun."""
    return tuple(
        (field, mark.noun)
        for field, info in params.model_fields.items()
        for mark in (*info.metadata, *_marks(info.annotation))
        if isinstance(mark, Reference)
    )


def _marks(annotation: Any) -> list[Any]:
    """The marks of a type that stand inside, as in ``SessionRef | None``."""
    return [mark for part in get_args(annotation) for mark in (*getattr(part, "__metadata__", ()), *_marks(part))]


_REFERENCES = {method: _references(row.params) for method, row in METHODS.items()}
"""By method, found once: a request that needs no look-up is answered inline, and asked for most often."""
