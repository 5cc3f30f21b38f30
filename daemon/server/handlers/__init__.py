"""One function per method, under the method's own name, in a file named for its noun.

``session.get`` is ``session_get`` in ``session.py``: ``(client, params) → result``, or a coroutine of it if it waits.
"""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

from ....protocol.methods import METHODS
from ....protocol.params import Params
from ..answer import Result
from . import daemon, engine, events, item, rpc, session, turn

if TYPE_CHECKING:
    from ..connection import Connection


class Route(NamedTuple):
    """Where a request goes."""

    params: type[Params]
    handler: "Callable[[Connection, Any], Result | Coroutine[Any, Any, Result]]"


_ROOMS = {room.__name__.rpartition(".")[2]: vars(room) for room in (daemon, engine, events, item, rpc, session, turn)}


def _route(method: str) -> Route:
    noun = method.partition(".")[0]
    # `hello` is the one verb without a noun; it stands with the connection's other methods.
    return Route(METHODS[method].params, _ROOMS["rpc" if method == "hello" else noun][method.replace(".", "_")])


ROUTES: dict[str, Route] = {method: _route(method) for method in METHODS}
"""Who handles each method."""

CHANGES = frozenset(
    {
        "daemon.reload",
        "session.create",
        "session.update",
        "session.start",
        "session.stop",
        "session.clear",
        "session.checkpoint",
        "session.archive",
        "session.unarchive",
        "session.delete",
        "session.release",
        "turn.send",
        "turn.cancel",
        "turn.edit",
        "turn.move",
        "turn.remove",
    }
)
"""Methods that create or change something: not while the daemon stops."""
