"""Every pair of every table; docs/states.md is what they print."""

from enum import StrEnum
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from roost.daemon.core import states
from roost.daemon.core.states import (
    ITEM,
    LIFE,
    SESSION,
    TURN,
    ItemEvent,
    Life,
    LifeEvent,
    SessionEvent,
    Table,
    TurnEvent,
)
from roost.protocol.errors import IllegalTransition
from roost.protocol.model import ItemState, SessionState, TurnState

LEGAL = {
    "session": {
        ("idle", "start"): "starting",
        ("idle", "begin"): "busy",
        ("idle", "stop"): "stopping",
        ("idle", "give_up"): "failed",
        ("starting", "ready"): "ready",
        ("starting", "stop"): "stopping",
        ("starting", "gone"): "idle",
        ("ready", "begin"): "busy",
        ("ready", "stop"): "stopping",
        ("ready", "gone"): "idle",
        ("busy", "wait"): "waiting",
        ("busy", "finish"): "ready",
        ("busy", "stop"): "stopping",
        ("busy", "gone"): "idle",
        ("waiting", "resume"): "busy",
        ("waiting", "finish"): "ready",
        ("waiting", "stop"): "stopping",
        ("waiting", "gone"): "idle",
        ("stopping", "finish"): "stopping",
        ("stopping", "gone"): "idle",
        ("failed", "rearm"): "idle",
    },
    "turn": {
        ("queued", "start"): "running",
        ("queued", "cancel"): "cancelled",
        ("queued", "fail"): "failed",
        ("running", "wait"): "waiting",
        ("running", "complete"): "completed",
        ("running", "fail"): "failed",
        ("running", "cancel"): "cancelled",
        ("running", "interrupt"): "interrupted",
        ("waiting", "resume"): "running",
        ("waiting", "complete"): "completed",
        ("waiting", "fail"): "failed",
        ("waiting", "cancel"): "cancelled",
        ("waiting", "interrupt"): "interrupted",
    },
    "item": {
        ("in_progress", "complete"): "completed",
        ("in_progress", "fail"): "failed",
        ("in_progress", "cancel"): "cancelled",
        ("in_progress", "interrupt"): "interrupted",
    },
    "live session": {
        ("starting", "ready"): "serving",
        ("starting", "stop"): "stopping",
        ("starting", "lose"): "stopping",
        ("starting", "end"): "over",
        ("serving", "stop"): "stopping",
        ("serving", "lose"): "stopping",
        ("serving", "end"): "over",
        ("stopping", "ready"): "stopping",
        ("stopping", "stop"): "stopping",
        ("stopping", "lose"): "stopping",
        ("stopping", "end"): "over",
    },
}

PAIRS = [
    *((SESSION, *pair) for pair in product(SessionState, SessionEvent)),
    *((TURN, *pair) for pair in product(TurnState, TurnEvent)),
    *((ITEM, *pair) for pair in product(ItemState, ItemEvent)),
    *((LIFE, *pair) for pair in product(Life, LifeEvent)),
]


@pytest.mark.parametrize(("table", "state", "event"), PAIRS, ids=lambda v: v.noun if isinstance(v, Table) else str(v))
def test_every_pair(table: Table[Any, Any], state: StrEnum, event: StrEnum) -> None:
    """A pair leads where the page says, or is an error that names both."""
    expected = LEGAL[table.noun].get((state, event))
    if expected is not None:
        assert table.next(state, event) == expected
        return
    with pytest.raises(IllegalTransition) as caught:
        table.next(state, event)
    assert caught.value.data == {"noun": table.noun, "state": state, "event": event}
    assert f"{state}" in caught.value.message and f"{event}" in caught.value.message


def test_the_first_terminal_state_wins() -> None:
    """Nothing leads out of a terminal state."""
    assert {s for s in TurnState if TURN.terminal(s)} == {"completed", "failed", "cancelled", "interrupted"}
    assert {s for s in ItemState if ITEM.terminal(s)} == {"completed", "failed", "cancelled", "interrupted"}
    assert {s for s in Life if LIFE.terminal(s)} == {"over"}
    assert not any(SESSION.terminal(state) for state in SessionState)


def test_the_page_is_what_the_tables_print() -> None:
    page = Path(__file__).parents[3] / "docs" / "states.md"
    assert page.read_text() == states.markdown(), "run: python -m roost.daemon.core.states > docs/states.md"
