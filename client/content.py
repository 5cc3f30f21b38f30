"""What a turn said, as a whole: its items, and the content that is too long for one answer."""

from __future__ import annotations

from .invocation import Invocation, Record

_PIECE_BYTES = 262_144


def final_message(invocation: Invocation, turn: str) -> str:
    """The turn's last agent message, or the last thing it said if it has none, as a whole."""
    items = [item for item in turn_items(invocation, turn) if item["bytes"] and item["kind"] != "user_message"]
    messages = [item for item in items if item["kind"] == "agent_message"]
    last = (messages or items)[-1:]
    return content(invocation, last[0]) if last else ""


def turn_items(invocation: Invocation, turn: str) -> list[Record]:
    items: list[Record] = []
    after: int | None = 0
    while after is not None:
        page = invocation.call("turn.get", turn=turn, after=after)
        items, after = items + page["items"], page["next"]
    return items


def content(invocation: Invocation, item: Record) -> str:
    """All of an item's content that was kept."""
    if not item["truncated"]:
        return str(item["content"])
    pieces: list[bytes] = []
    offset: int | None = 0
    while offset is not None:
        piece = invocation.call("item.read", item=item["id"], offset=offset, limit=_PIECE_BYTES)
        pieces.append(piece["data"])
        offset = piece["next"]
    return b"".join(pieces).decode("utf-8", "replace")
