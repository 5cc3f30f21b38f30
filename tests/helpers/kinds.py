"""The classes of events, which are for type checkers, held to at run time."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ConfigDict, TypeAdapter

from roost.daemon.store import Tx
from roost.protocol.events import EVENTS


def _strict(data: Any) -> TypeAdapter[Any]:
    """Nothing but the fields of the class, of their types; the class itself stays as it is."""
    data.__pydantic_config__ = ConfigDict(strict=True, extra="forbid")
    try:
        return TypeAdapter(data)
    finally:
        del data.__pydantic_config__


_DATA = {kind: _strict(data) for kind, data in EVENTS.items()}


def checked_events() -> Iterator[None]:
    """For as long as it is open, an event with other data than its class has is a fault of the operation."""
    emit = Tx.emit

    def checked(tx: Tx, session_id: str, kind: Any, data: Any, turn: str | None = None) -> None:
        _DATA[kind].validate_python(data)
        emit(tx, session_id, kind, data, turn)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tx, "emit", checked)
        yield
