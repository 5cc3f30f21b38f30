"""PURE: the events of a session become what a person reads: the agent's own words, and notes about them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from .render import clean, duration, short

Record = dict[str, Any]

ENDS = ("turn.completed", "turn.failed", "turn.cancelled", "turn.interrupted")
_HEADINGS = {"command": "$ ", "tool_call": "* ", "file_change": "± ", "thought": "", "error": "error: "}


class Piece(NamedTuple):
    """``text`` as the agent gave it; a ``note`` is a line of ours."""

    text: str
    note: bool = False


class Transcript:
    """Feed it events in order; it gives the pieces to show.

    Args:
        turn: show this turn only, as bare output: no prompts, and no end unless it went wrong.
    """

    def __init__(self, turn: str | None = None) -> None:
        self.turn = turn
        self.prompts: dict[str, str] = {}
        """Prompt of each turn that may still start; whoever knows more may add."""
        self._shown: dict[str, int] = {}  # item in progress → bytes shown
        self._hidden: set[str] = set()  # what the user said, which stands there as the prompt
        self._mid_line = False

    def feed(self, event: Record) -> Iterator[Piece]:
        kind, turn = event["kind"], event["turn"]
        self._learn(kind, turn, event["data"])
        if self.turn is not None and turn != self.turn:
            return
        noun = kind.partition(".")[0]
        if noun == "item":
            yield from self._item(kind, turn, event["data"])
        elif kind in ENDS:
            yield from self._end(kind, turn, event["data"])
        elif note := self._note(kind, turn, event["data"]):
            yield self._noted(note)

    def _learn(self, kind: str, turn: str, data: Record) -> None:
        if kind == "turn.queued":
            self.prompts[turn] = data["turn"]["input"]
        elif kind == "turn.edited":
            self.prompts[turn] = data["input"]

    def _item(self, kind: str, turn: str, data: Record) -> Iterator[Piece]:
        if kind == "item.started":
            yield from self._begin(turn, data)
        elif kind == "item.delta":
            if data["item"] not in self._hidden:
                yield from self._words(data["item"], data["text"])
        elif kind == "item.updated":
            yield from self._amend(data)
        else:
            yield from self._finish(data["item"])

    def _begin(self, turn: str, data: Record) -> Iterator[Piece]:
        if data["kind"] == "user_message":
            self._hidden.add(data["item"])
            return
        if self._mid_line:
            yield self._said("\n")
        self._shown[data["item"]] = 0
        title = clean(data["title"])
        if title and data["kind"] in _HEADINGS and title != clean(self.prompts.get(turn, "")):
            yield self._noted(_HEADINGS[data["kind"]] + title)

    def _words(self, item: str, text: str) -> Iterator[Piece]:
        self._shown[item] = self._shown.get(item, 0) + len(text.encode())
        yield self._said(text)

    def _amend(self, data: Record) -> Iterator[Piece]:
        if title := clean(data.get("title", "")):
            yield self._noted(f"{data['item']} is now: {title}")
        if text := data.get("text"):
            yield self._noted(f"{data['item']} now says:")
            yield self._said(text)

    def _finish(self, item: Record) -> Iterator[Piece]:
        if item["kind"] == "user_message":
            return
        if not self._shown.pop(item["id"], 0) and item["content"]:
            yield self._said(item["content"])
        if item["kept"] < item["bytes"]:
            yield self._noted(f"{item['bytes'] - item['kept']} of {item['bytes']} bytes were not kept: {item['id']}")

    def _end(self, kind: str, turn: str, data: Record) -> Iterator[Piece]:
        self._shown.clear()
        self._hidden.clear()
        self.prompts.pop(turn, None)
        if self.turn is None or kind != "turn.completed":
            yield self._noted(ending(kind, turn, data))

    def _note(self, kind: str, turn: str, data: Record) -> str:
        match kind:
            case "turn.started" if self.turn is None:
                return f"> {self.prompts.get(turn, turn)}"
            case "turn.progressed":
                share = f" ({data['fraction']:.0%})" if "fraction" in data else ""
                return f"… {clean(data['message'])}{share}"
            case "turn.cancel_requested":
                return f"{turn} is asked to end ({clean(data['reason'])})"
            case "session.held":
                return f"on hold with {data['queued']} queued ({clean(data['reason'])})"
            case "session.released":
                return f"released with {data['queued']} queued"
            case "session.state_changed" if problem := data.get("problem"):
                return f"{data['new']}: {short(problem['message'], 400)}"
            case "checkpoint.failed":
                return f"its state could not be saved: {short(data['problem']['message'], 400)}"
            case "session.cleared" | "session.archived" | "session.unarchived":
                return kind.partition(".")[2]
            case "events.pruned":
                return f"events {data['from_seq']} to {data['to_seq']} were removed by retention"
            case _:
                return ""

    def _said(self, text: str) -> Piece:
        self._mid_line = not text.endswith("\n")
        return Piece(text)

    def _noted(self, text: str) -> Piece:
        if self.turn is None:
            self._mid_line = False  # in a conversation a note stands in a line of its own
        return Piece(text, note=True)


def ending(kind: str, turn: str, data: Record) -> str:
    """How a turn ended, in a line."""
    parts = [f"{turn} {kind.partition('.')[2]}"]
    if data["reason"]:
        parts.append(f"({clean(data['reason'])})")
    if data["duration"] is not None:
        parts.append(f"after {duration(data['duration'])}")
    if problem := data["problem"]:
        parts.append(f"- {short(problem['message'], 400)}")
    if data["exit_code"] is not None:
        parts.append(f"[exit status {data['exit_code']}]")
    return " ".join(parts)
