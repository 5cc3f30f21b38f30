"""Every transition of a session, a turn, an item, and of a session that is live in memory.

Rule 1: a state changes only through a table that stands here. Rule 2: a pair that is not in its table is an
``illegal_transition`` and changes nothing. Rule 3: nothing leads out of a terminal state, so the first one wins.
"""

from enum import StrEnum
from typing import Generic, TypeVar

from ...protocol.errors import IllegalTransition
from ...protocol.model import ItemState, SessionState, TurnState


class SessionEvent(StrEnum):
    """What can happen to a session."""

    start = "start"
    """a child is being spawned"""
    ready = "ready"
    """it has answered initialize"""
    begin = "begin"
    """a turn starts to run"""
    wait = "wait"
    """the turn waits for an answer from outside"""
    resume = "resume"
    """it has the answer"""
    finish = "finish"
    """the turn has ended and the child lives"""
    stop = "stop"
    """the child is asked to end"""
    gone = "gone"
    """no known pid of it lives"""
    give_up = "give_up"
    """the restart limit is reached"""
    rearm = "rearm"
    """it may be tried again"""


class TurnEvent(StrEnum):
    """What can happen to a turn."""

    start = "start"
    wait = "wait"
    resume = "resume"
    complete = "complete"
    fail = "fail"
    cancel = "cancel"
    interrupt = "interrupt"


class ItemEvent(StrEnum):
    """What can happen to an item."""

    complete = "complete"
    fail = "fail"
    cancel = "cancel"
    interrupt = "interrupt"


class Life(StrEnum):
    """How far a live session is: a session in memory, with a task of its own."""

    starting = "starting"
    """its child is being started"""
    serving = "serving"
    """its child does what is asked of the session"""
    stopping = "stopping"
    """it takes no more turns and will end"""
    over = "over"
    """its task has ended, and no known process of it lives"""


class LifeEvent(StrEnum):
    """What can happen to a live session."""

    ready = "ready"
    """its child can run turns"""
    stop = "stop"
    """somebody wants it to end"""
    lose = "lose"
    """its child has ended, or could not be started"""
    end = "end"
    """its task has ended"""


State = TypeVar("State", bound=StrEnum)
Cause = TypeVar("Cause", bound=StrEnum)


class Table(Generic[State, Cause]):
    """One machine: ``(state, event) → state``."""

    def __init__(self, noun: str, rows: dict[State, dict[Cause, State]]) -> None:
        self.noun = noun
        self.rows = rows

    def next(self, state: State, event: Cause) -> State:
        """The state after ``event``.

        Raises:
            IllegalTransition: the pair is not in the table; names both.
        """
        after = self.rows[state].get(event)
        if after is None:
            raise IllegalTransition(
                f"a {self.noun} that is {state} cannot {event}", noun=self.noun, state=str(state), event=str(event)
            )
        return after

    def terminal(self, state: State) -> bool:
        return not self.rows[state]

    def markdown(self) -> str:
        """The table as Markdown, for docs/states.md."""
        lines = [f"## {self.noun}", "", "| state | event | next |", "|---|---|---|"]
        for state, row in self.rows.items():
            lines += [f"| {state} | {event} | {after} |" for event, after in row.items()] or [f"| {state} | | |"]
        return "\n".join(lines)


_S, _SE = SessionState, SessionEvent
SESSION: Table[SessionState, SessionEvent] = Table(
    "session",
    {
        # begin and gone without a start between: an engine of kind command has a child only while a turn runs.
        # stop: what a dead daemon left of it does not end
        _S.idle: {_SE.start: _S.starting, _SE.begin: _S.busy, _SE.stop: _S.stopping, _SE.give_up: _S.failed},
        _S.starting: {_SE.ready: _S.ready, _SE.stop: _S.stopping, _SE.gone: _S.idle},
        _S.ready: {_SE.begin: _S.busy, _SE.stop: _S.stopping, _SE.gone: _S.idle},
        _S.busy: {_SE.wait: _S.waiting, _SE.finish: _S.ready, _SE.stop: _S.stopping, _SE.gone: _S.idle},
        _S.waiting: {_SE.resume: _S.busy, _SE.finish: _S.ready, _SE.stop: _S.stopping, _SE.gone: _S.idle},
        _S.stopping: {_SE.finish: _S.stopping, _SE.gone: _S.idle},
        _S.failed: {_SE.rearm: _S.idle},
    },
)

_T, _TE = TurnState, TurnEvent
_ENDS = {
    _TE.complete: _T.completed,
    _TE.fail: _T.failed,
    _TE.cancel: _T.cancelled,
    _TE.interrupt: _T.interrupted,
}
TURN: Table[TurnState, TurnEvent] = Table(
    "turn",
    {
        _T.queued: {_TE.start: _T.running, _TE.cancel: _T.cancelled, _TE.fail: _T.failed},
        _T.running: {_TE.wait: _T.waiting, **_ENDS},
        _T.waiting: {_TE.resume: _T.running, **_ENDS},
        _T.completed: {},
        _T.failed: {},
        _T.cancelled: {},
        _T.interrupted: {},
    },
)

_I, _IE = ItemState, ItemEvent
ITEM: Table[ItemState, ItemEvent] = Table(
    "item",
    {
        _I.in_progress: {
            _IE.complete: _I.completed,
            _IE.fail: _I.failed,
            _IE.cancel: _I.cancelled,
            _IE.interrupt: _I.interrupted,
        },
        _I.completed: {},
        _I.failed: {},
        _I.cancelled: {},
        _I.interrupted: {},
    },
)

_L, _LE = Life, LifeEvent
LIFE: Table[Life, LifeEvent] = Table(
    "live session",
    {
        _L.starting: {_LE.ready: _L.serving, _LE.stop: _L.stopping, _LE.lose: _L.stopping, _LE.end: _L.over},
        _L.serving: {_LE.stop: _L.stopping, _LE.lose: _L.stopping, _LE.end: _L.over},
        # ready: the stop came while the child started. stop: the daemon stops what somebody is stopping already.
        _L.stopping: {_LE.ready: _L.stopping, _LE.stop: _L.stopping, _LE.lose: _L.stopping, _LE.end: _L.over},
        _L.over: {},
    },
)

TABLES = (SESSION, TURN, ITEM, LIFE)

TURN_END = {
    _T.completed: _TE.complete,
    _T.failed: _TE.fail,
    _T.cancelled: _TE.cancel,
    _T.interrupted: _TE.interrupt,
}
"""The event that leads to each terminal state of a turn."""

ITEM_END = {
    _I.completed: _IE.complete,
    _I.failed: _IE.fail,
    _I.cancelled: _IE.cancel,
    _I.interrupted: _IE.interrupt,
}


def markdown() -> str:
    """All tables, as docs/states.md holds them."""
    head = "# States\n\nGenerated: `python -m roost.daemon.core.states > docs/states.md`.\n"
    return "\n\n".join([head, *(table.markdown() for table in TABLES)]) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
