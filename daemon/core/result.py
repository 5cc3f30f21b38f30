"""How large a result may be, and what is said of one that is larger."""

from ...protocol.errors import ResultTooLarge

MAX_RESULT = 1024 * 1024
"""Bytes of one result."""

_PAGING = {
    "session.state": "the state itself is that big; `session.checkpoint` saves it without sending it",
    "turn.get": "page its items with `after`, read a big one with item.read",
    "item.read": "ask for a smaller `limit`",
}


def check_size(method: str, size: int) -> None:
    """Whether a result of so many bytes may be sent.

    Raises:
        ResultTooLarge: it is over 1 MiB; names the way to get less.
    """
    if size > MAX_RESULT:
        way = _PAGING.get(method, "ask for a smaller `limit` and go on with `next`")
        text = f"the result of {method} has {size} bytes and {MAX_RESULT} are allowed: {way}"
        raise ResultTooLarge(text, method=method, bytes=size, limit=MAX_RESULT)
