"""Limits of a session and of its engine: which hold, and which of them a host does not enforce."""

from collections.abc import Container

from ...protocol.model import Limits


def effective(own: Limits, engine: Limits) -> Limits:
    """A session's own limits where it has them, else its engine's."""
    given = {name: value for name, value in own if value is not None}
    return engine.model_copy(update=given) if given else engine


def unenforced(limits: Limits, enforceable: Container[str]) -> list[str]:
    """The names of the limits that are set and that nobody here enforces."""
    return [name for name, value in limits if value is not None and name not in enforceable]
