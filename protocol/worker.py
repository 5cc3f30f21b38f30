"""The messages of daemon and worker over the worker's stdin and stdout: MessagePack-RPC, the same framing.

Each message is a shape: field -> the types it may have; a name that ends in ``?`` may be left out. No pydantic: a
worker must stay small. Both sides check what they read with :func:`check`.
"""

from __future__ import annotations

from collections.abc import Collection

from .errors import InvalidParams, MethodNotFound
from .record import is_map

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    from typing import Any

PROTOCOL = 1
"""Version of the worker protocol."""

MOST_DATA = 128 * 1024
MOST_TEXT = 64 * 1024
"""Bytes of an item's packed data at its start, and again at its end: with its text they must fit into one event."""

MOST_OPEN = 1000
"""Items of a turn that are open at a time."""

MOST_USED = 2**53
"""The largest number of a report of usage: every reader of JSON can tell it from the next one."""

MOST_STATE = 15 * 1024 * 1024
"""Bytes of a packed state: it is restored by one message, and beside it stand the history and what was cut off."""

NESTING = 24
"""How many arrays and maps of a worker's message may stand in one another. All others read 32 (``rpc.Limits``): what it
says goes on to clients inside a few more, as data of a problem of a turn of an event, and its state comes back to it.
"""

MOST_FAILURE = 16 * 1024
"""Bytes of the packed data of an error, or of a turn that failed: it is told together with the turn's prompt."""

LONGEST_MESSAGE = 4096
"""Bytes of an error's message in UTF-8."""

Shape = dict[str, tuple[type, ...]]

ANY: tuple[type, ...] = (object,)
STR: tuple[type, ...] = (str,)
INT: tuple[type, ...] = (int,)
MAP: tuple[type, ...] = (dict,)
NUMBER: tuple[type, ...] = (int, float)

TO_WORKER: dict[str, Shape] = {
    # interrupted: {turn, input, reason} of the turn that was cut off; history: the last turns that ended, at most 20,
    # oldest first, each {turn, number, input (its first 2,000 characters), state}; limits: {frame, nesting};
    # answers: the methods that roostd answers to a worker; it answers any other with method_not_found
    "initialize": {
        "protocol": INT,
        "session": STR,
        "workspace": STR,
        "state?": ANY,
        "history": (list,),
        "interrupted?": MAP,
        "limits": MAP,
        "answers": (list,),
    },
    "turn.run": {"turn": STR, "number": INT, "input": STR},
    "turn.cancel": {"turn": STR, "reason": STR},
    "state.get": {},
    "state.clear": {},
    "checkpoint": {},
    "ping": {},
    "shutdown": {},
}
"""Requests the daemon makes of a worker."""

OPTIONAL: dict[str, tuple[str, ...]] = {
    "checkpoint": ("checkpoint",),  # it has a state that can be saved and restored
    "clear": ("state.clear",),
}
"""Capability -> the requests, and the fields as ``"method field"``, that are sent only to a worker that names it.

Either side refuses a request or a field that it does not know. So the protocol grows in two places: here by what a
worker may be sent, and in ``answers`` of ``initialize`` by what a worker may ask.
"""


def taken(name: str, capabilities: Collection[str]) -> bool:
    """A worker with these capabilities takes the request, or the field, of that name."""
    return all(capability in capabilities for capability, names in OPTIONAL.items() if name in names)


RESULTS: dict[str, Shape] = {
    # capabilities: the parts of OPTIONAL that the worker takes
    "initialize": {"protocol": INT, "capabilities": (list,), "name?": STR, "version?": STR},
    # status: completed, failed or cancelled. state: left out = not part of this answer; null is a state
    "turn.run": {"status": STR, "message?": STR, "exit_code?": (int, type(None)), "state?": ANY, "data?": MAP},
    "turn.cancel": {},
    "state.get": {"state": ANY},
    "state.clear": {"state?": ANY},
    "checkpoint": {"state": ANY},
    "ping": {},
    "shutdown": {},
}
"""The answers of a worker."""

TO_DAEMON: dict[str, Shape] = {
    # item: an id of the worker's own choice, unique within the turn
    "item.start": {"item": STR, "kind": STR, "title?": STR, "data?": MAP},
    "item.delta": {"item": STR, "text": STR},
    "item.end": {"item": STR, "state": STR, "data?": MAP},
    # the news of an item of the turn, open or ended: the text is the whole output of an ended item
    "item.update": {"item": STR, "title?": STR, "data?": MAP, "text?": STR},
    "progress": {"message": STR, "fraction?": NUMBER},
    # the usage since the last report
    "usage": {
        "input_tokens?": INT,
        "output_tokens?": INT,
        "reasoning_tokens?": INT,
        "cached_tokens?": INT,
        "cost?": NUMBER,
    },
}
"""Notifications a worker sends while a turn runs. ``rpc.cancel {msgid}`` withdraws its request, at any time."""

TURN_STATUSES = ("completed", "failed", "cancelled")
ITEM_KINDS = ("agent_message", "thought", "tool_call", "command", "file_change", "plan", "status", "error")
ITEM_STATES = ("completed", "failed", "cancelled")


def shortened(message: str) -> str:
    """``message`` as it is kept; "…" ends one that was too long."""
    data = message.encode("utf-8", "replace")
    if len(data) > LONGEST_MESSAGE:
        return data[: LONGEST_MESSAGE - 3].decode(errors="ignore") + "…"
    return data.decode()


def check(table: dict[str, Shape], name: str, params: Any) -> dict[str, Any]:
    """``params``, if they have the shape that ``table`` gives for ``name``.

    Raises:
        MethodNotFound: no such name in the table.
        InvalidParams: not a map, a field is missing, unknown, or of a wrong type.
    """
    shape = table.get(name)
    if shape is None:
        raise MethodNotFound(f"there is no {name!r} in the worker protocol", method=name)
    if not is_map(params):
        raise InvalidParams(f"{name} takes a map", method=name)
    for field, types in shape.items():
        required = field.rstrip("?")
        if required in params:
            value = params[required]
            if not isinstance(value, types) or (isinstance(value, bool) and bool not in types and types is not ANY):
                wanted = " or ".join(t.__name__ for t in types)
                raise InvalidParams(f"{name}: {required} must be {wanted}", method=name, field=required)
        elif required == field:
            raise InvalidParams(f"{name}: {field} is missing", method=name, field=field)
    for field in params:
        if field not in shape and f"{field}?" not in shape:
            raise InvalidParams(f"{name}: unknown field {field!r}", method=name, field=str(field))
    return params
