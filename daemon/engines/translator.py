"""The reports of a worker, turned into changes of items; its own item names become ids."""

from typing import Any

from ...protocol import rpc
from ...protocol.errors import InvalidParams
from ...protocol.model import ItemKind, ItemState, Usage, new_id
from ...protocol.worker import ITEM_STATES, MOST_DATA, MOST_OPEN, MOST_TEXT, MOST_USED
from ..core.said import Append, Change, End, Progress, Start, Update, UsageReport

LONGEST_TITLE = 4096
LONGEST_NAME = 256


class Translator:
    """Translates the reports of one turn."""

    def __init__(self) -> None:
        self._open: dict[str, str] = {}
        self._ended: dict[str, str] = {}
        """The newest that have ended, which can still be updated."""

    def change(self, method: str, params: dict[str, Any]) -> Change:
        """The change that a checked notification stands for.

        Raises:
            InvalidParams: it names an item that is not open, or a kind or state that there is not.
        """
        match method:
            case "item.start":
                return self._start(params)
            case "item.delta":
                return Append(self._item(params), params["text"])
            case "item.end":
                return self._end(params)
            case "item.update":
                return self._update(params)
            case "progress":
                fraction = params.get("fraction")
                return Progress(params["message"][:LONGEST_TITLE], None if fraction is None else _part(fraction))
            case _:
                return UsageReport(_usage(params))

    def _start(self, params: dict[str, Any]) -> Start:
        name = params["item"]
        if name in self._open:
            raise InvalidParams(f"item.start: item {name!r} is open already", field="item", item=name)
        if len(name) > LONGEST_NAME:
            text = f"item.start: item has {len(name)} characters and may have {LONGEST_NAME}; choose a shorter name"
            raise InvalidParams(text, field="item", limit=LONGEST_NAME)
        if len(self._open) >= MOST_OPEN:
            raise InvalidParams(f"item.start: {MOST_OPEN} items are open already; end some", field="item")
        try:
            kind = ItemKind(params["kind"])
        except ValueError:
            kinds = ", ".join(ItemKind)
            raise InvalidParams(
                f"item.start: kind is {params['kind']!r}; it must be one of {kinds}", field="kind"
            ) from None
        data = _data("item.start", params)
        item = self._open[name] = new_id("i")
        return Start(item, kind, params.get("title", "")[:LONGEST_TITLE], data)

    def _end(self, params: dict[str, Any]) -> End:
        if params["state"] not in ITEM_STATES:
            states = ", ".join(ITEM_STATES)
            raise InvalidParams(f"item.end: state is {params['state']!r}; it must be one of {states}", field="state")
        item, data = self._item(params), _data("item.end", params)
        self._ended.pop(params["item"], None)
        self._ended[params["item"]] = self._open.pop(params["item"])
        if len(self._ended) > MOST_OPEN:
            del self._ended[next(iter(self._ended))]
        return End(item, ItemState(params["state"]), data)

    def _update(self, params: dict[str, Any]) -> Update:
        name, title, text = params["item"], params.get("title"), params.get("text")
        item = self._open.get(name) or self._ended.get(name)
        if item is None:
            raise InvalidParams(f"item.update: there is no item {name!r} in this turn; start it first", field="item")
        if text is not None:
            if name in self._open:
                raise InvalidParams(f"item.update: item {name!r} is open; its text comes by item.delta", field="text")
            if (size := len(text.encode("utf-8", "replace"))) > MOST_TEXT:
                told = f"item.update: text has {size} bytes and may have {MOST_TEXT}; start another item for more"
                raise InvalidParams(told, field="text", bytes=size, limit=MOST_TEXT)
        data = _data("item.update", params)
        return Update(item, None if title is None else title[:LONGEST_TITLE], data, text)

    def _item(self, params: dict[str, Any]) -> str:
        item = self._open.get(params["item"])
        if item is None:
            raise InvalidParams(f"item {params['item']!r} is not open; start it first", field="item")
        return item


def _data(method: str, params: dict[str, Any]) -> dict[str, Any]:
    data: dict[Any, Any] = params.get("data", {})
    if not all(isinstance(key, str) for key in data):
        raise InvalidParams(f"{method}: data must have names as keys", field="data")
    if data and (size := len(rpc.pack(data))) > MOST_DATA:
        text = f"{method}: data has {size} bytes and may have {MOST_DATA}; send the rest as the item's text"
        raise InvalidParams(text, field="data", bytes=size, limit=MOST_DATA)
    return data


def _part(fraction: float) -> float:
    """Between 0 and 1, also for NaN."""
    return min(max(0.0, float(fraction)), 1.0)


def _usage(params: dict[str, Any]) -> Usage:
    for name, value in params.items():
        if not 0 <= value <= MOST_USED:
            raise InvalidParams(f"usage: {name} must not be negative, and not beyond 2**53", field=name)
    return Usage(**params)
