"""What a worker reports of its turn, turned into changes of items; its own item names become ids."""

from typing import Any

from ...protocol.errors import InvalidParams
from ...protocol.model import ItemKind, ItemState, Usage, new_id
from ...protocol.worker import ITEM_STATES
from ..store.items import Append, Change, End, Progress, Start, UsageReport

LONGEST_TITLE = 4096
MOST_OPEN = 1000


class Translator:
    """For one turn."""

    def __init__(self) -> None:
        self._open: dict[str, str] = {}

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
            case "progress":
                fraction = params.get("fraction")
                return Progress(params["message"][:LONGEST_TITLE], None if fraction is None else float(fraction))
            case _:
                return UsageReport(_usage(params))

    def _start(self, params: dict[str, Any]) -> Start:
        name = params["item"]
        if name in self._open:
            raise InvalidParams(f"item.start: item {name!r} is open already", field="item", item=name)
        if len(self._open) >= MOST_OPEN:
            raise InvalidParams(f"item.start: {MOST_OPEN} items are open already; end some", field="item")
        try:
            kind = ItemKind(params["kind"])
        except ValueError:
            kinds = ", ".join(ItemKind)
            raise InvalidParams(
                f"item.start: kind is {params['kind']!r}; it must be one of {kinds}", field="kind"
            ) from None
        item = self._open[name] = new_id("i")
        return Start(item, kind, params.get("title", "")[:LONGEST_TITLE], params.get("data", {}))

    def _end(self, params: dict[str, Any]) -> End:
        if params["state"] not in ITEM_STATES:
            states = ", ".join(ITEM_STATES)
            raise InvalidParams(f"item.end: state is {params['state']!r}; it must be one of {states}", field="state")
        item = self._item(params)
        del self._open[params["item"]]
        return End(item, ItemState(params["state"]), params.get("data", {}))

    def _item(self, params: dict[str, Any]) -> str:
        item = self._open.get(params["item"])
        if item is None:
            raise InvalidParams(f"item {params['item']!r} is not open; start it first", field="item")
        return item


def _usage(params: dict[str, Any]) -> Usage:
    negative = [name for name, value in params.items() if value < 0]
    if negative:
        raise InvalidParams(f"usage: {negative[0]} must not be negative", field=negative[0])
    return Usage(**params)
