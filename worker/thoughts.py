"""Sequential thinking, PURE: a history of thoughts, with revisions and branches, and what makes a thought valid."""

from __future__ import annotations

from ..protocol import rpc
from ..protocol.errors import InvalidParams, LimitReached, RoostError
from ..protocol.worker import MOST_STATE

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    from typing import Any

MAX_THOUGHTS = 1000
MAX_BRANCHES = 50
MAX_BYTES = 8000
"""Of one thought, in UTF-8."""
MAX_NUMBER = 1_000_000
MAX_BRANCH_ID = 64
ENVELOPE = 100
"""Bytes of a packed state without its thoughts, and of a branch without its own."""

Thought = dict[str, "Any"]

REQUIRED: dict[str, type] = {
    "thought": str,
    "thought_number": int,
    "total_thoughts": int,
    "next_thought_needed": bool,
}
OPTIONAL: dict[str, type] = {
    "is_revision": bool,
    "revises_thought": int,
    "branch_from_thought": int,
    "branch_id": str,
    "needs_more_thoughts": bool,
}
_KINDS = {str: "text", int: "a whole number", bool: "true or false"}


class Thoughts:
    """What was thought, in order. A limit refuses the next thought and says so; nothing is dropped silently."""

    def __init__(self) -> None:
        self.history: list[Thought] = []
        self.branches: dict[str, list[Thought]] = {}
        self._bytes = ENVELOPE
        """Of the packed state, at most. To pack all of it for each thought would take a second at a restore."""

    def __repr__(self) -> str:
        return f"<Thoughts history={len(self.history)} branches={len(self.branches)}>"

    def next(self, text: str) -> Thought:
        """The thought that plain text stands for: numbered next, totals raised, more to come."""
        number = self.history[-1]["thought_number"] + 1 if self.history else 1
        total = self.history[-1]["total_thoughts"] if self.history else 1
        return {
            "thought": text,
            "thought_number": number,
            "total_thoughts": max(number, total),
            "next_thought_needed": True,
        }

    def add(self, fields: Any) -> dict[str, Any]:
        """Validate a thought and append it; the answer says where the thinking stands.

        Raises:
            InvalidParams: names the field that is wrong. LimitReached: names the limit. Nothing has changed then.
        """
        thought = _typed(fields)
        thought["total_thoughts"] = max(thought["total_thoughts"], thought["thought_number"])
        self._check_references(thought)
        size = self._check_limits(thought)
        self._bytes += size
        self.history.append(thought)
        if _is_branched(thought):
            self.branches.setdefault(thought["branch_id"], []).append(thought)
        return {
            "thought_number": thought["thought_number"],
            "total_thoughts": thought["total_thoughts"],
            "next_thought_needed": thought["next_thought_needed"],
            "branches": list(self.branches),
            "history_length": len(self.history),
        }

    def _check_references(self, thought: Thought) -> None:
        if thought.get("is_revision") and "revises_thought" not in thought:
            raise _wrong("revises_thought", "is missing: is_revision is true, so say which thought is revised")
        for field in ("revises_thought", "branch_from_thought"):
            if field in thought and all(earlier["thought_number"] != thought[field] for earlier in self.history):
                raise _wrong(field, f"is {thought[field]}, and there is no thought of that number")

    def _check_limits(self, thought: Thought) -> int:
        """The bytes that the packed state grows by."""
        if len(self.history) >= MAX_THOUGHTS:
            text = f"the history holds {MAX_THOUGHTS} thoughts, which is the most; clear the session or begin another"
            raise LimitReached(text, limit=MAX_THOUGHTS, field="history")
        new = _is_branched(thought) and thought["branch_id"] not in self.branches
        if new and len(self.branches) >= MAX_BRANCHES:
            text = f"there are {MAX_BRANCHES} branches, which is the most; go on in one of them or clear the session"
            raise LimitReached(text, limit=MAX_BRANCHES, field="branch_id")
        size = len(rpc.pack(thought)) * (1 + _is_branched(thought)) + ENVELOPE * new
        if self._bytes + size > MOST_STATE:
            text = f"the thoughts take {self._bytes} of {MOST_STATE} bytes, and this one {size}; clear the session"
            raise LimitReached(f"{text} or begin another", limit=MOST_STATE, field="history")
        return size

    def state(self) -> dict[str, Any]:
        """``{history, branches}``, a copy: what is thought later does not show in it."""
        branches = {name: [dict(thought) for thought in thoughts] for name, thoughts in self.branches.items()}
        return {"history": [dict(thought) for thought in self.history], "branches": branches}

    @classmethod
    def restored(cls, state: Any) -> Thoughts:
        """The thoughts of a saved state.

        Raises:
            InvalidParams: it is not one, or its branches are not those of its history.
        """
        match state:
            case {"history": list()}:
                history: list[Any] = state["history"]
            case _:
                raise InvalidParams("this is not a state of the thinking worker: it has a history", field="state")
        thoughts = cls()
        for position, thought in enumerate(history):
            try:
                thoughts.add(thought)
            except RoostError as error:
                text = f"the state cannot be restored: history[{position}]: {error.message}"
                raise InvalidParams(text, field=f"history[{position}]") from error
        if thoughts.state() != state:
            raise InvalidParams(
                "the state cannot be restored: its branches are not those of its history", field="branches"
            )
        return thoughts


def _typed(fields: Any) -> Thought:
    """The fields of a thought, each of its type; those that are null are left out."""
    match fields:
        case {}:
            given: dict[Any, Any] = fields
        case _:
            raise InvalidParams("a thought is text, or a JSON object with thought, thought_number, …", field="thought")
    known = REQUIRED | OPTIONAL
    thought: Thought = {}
    for field, value in given.items():
        if field not in known:
            raise _wrong(field, f"is not a field of a thought; there are {', '.join(known)}")
        if value is None and field in OPTIONAL:
            continue
        if type(value) is not known[field]:
            raise _wrong(field, f"must be {_KINDS[known[field]]}")
        thought[field] = value
    for field in REQUIRED:
        if field not in thought:
            raise _wrong(field, "is missing")
    _check_values(thought)
    return thought


def _check_values(thought: Thought) -> None:
    for field, value in thought.items():
        if type(value) is int and not 1 <= value <= MAX_NUMBER:
            raise _wrong(field, f"must be from 1 to {MAX_NUMBER}")
    text, branch = thought["thought"], thought.get("branch_id", "x")
    if not text.strip():
        raise _wrong("thought", "is empty")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise _wrong("thought", "has half a surrogate pair; send whole characters") from None
    if size > MAX_BYTES:
        raise _wrong("thought", f"has {size} bytes; it may have {MAX_BYTES}, so make several of it")
    if not (len(branch) <= MAX_BRANCH_ID and branch.isascii() and branch.replace("-", "a").replace("_", "a").isalnum()):
        raise _wrong("branch_id", f"must be 1 to {MAX_BRANCH_ID} of A-Z, a-z, 0-9, - and _")


def _is_branched(thought: Thought) -> bool:
    """It has both origin and id. With only one of the two it stands in the history alone."""
    return "branch_from_thought" in thought and "branch_id" in thought


def _wrong(field: Any, what: str) -> InvalidParams:
    return InvalidParams(f"{field} {what}", field=str(field))
