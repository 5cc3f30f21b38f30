"""The ``roost`` command, and for tools the Trio client: ``async with roost.client.connect() as client``.

The command's quick verbs must not pay for Trio: :func:`connect` is imported when it is asked for.
"""

from __future__ import annotations

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    from typing import Any

    from .aio import Client, Events, connect

__all__ = ["Client", "Events", "connect"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import aio

    return getattr(aio, name)
