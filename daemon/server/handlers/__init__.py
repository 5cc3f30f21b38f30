"""A function for each method, under the method's own name, in a file named for its noun.

``session.get`` is ``session_get`` in ``session.py``: ``(client, params) → result``, or a coroutine of it if it waits.
The references in its params are ids.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from ....protocol.methods import METHODS
from ..answer import Result
from ..client import Client
from . import daemon, engine, events, item, rpc, session, turn

Handler = Callable[[Client, Any], Result | Coroutine[Any, Any, Result]]

_ROOMS = {room.__name__.rpartition(".")[2]: vars(room) for room in (daemon, engine, events, item, rpc, session, turn)}


def _handler(method: str) -> Handler:
    noun = method.partition(".")[0]
    # `hello` alone has no noun; it stands with the connection's other methods.
    handler: Handler = _ROOMS["rpc" if method == "hello" else noun][method.replace(".", "_")]
    return handler


HANDLERS: dict[str, Handler] = {method: _handler(method) for method in METHODS}
"""The handler of each method."""
