"""How large a result may be, and what is said of a larger one."""

from ...protocol.errors import ResultTooLarge
from ...protocol.methods import METHODS

MAX_RESULT = 1024 * 1024
"""Bytes of one result."""


def check_size(method: str, size: int) -> None:
    """Whether a result of so many bytes may be sent.

    Raises:
        ResultTooLarge: it is over 1 MiB; names the way to get less.
    """
    if size > MAX_RESULT:
        way = METHODS[method].paging
        text = f"the result of {method} has {size} bytes and {MAX_RESULT} are allowed: {way}"
        raise ResultTooLarge(text, method=method, bytes=size, limit=MAX_RESULT)
