"""What keeps roostd small."""

import ctypes
import linecache
from contextlib import suppress

M_ARENA_MAX = -8


def save_memory() -> None:
    """Give back what the imports leave, and let no thread take what it does not use. Before the first thread starts."""
    with suppress(OSError, AttributeError):  # a C library without it
        # Else each thread has an arena of its own, most of which stays empty (mallopt(3)).
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
    linecache.clearcache()  # the source of what attrs has generated
