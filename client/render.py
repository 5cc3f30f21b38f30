"""PURE: records become text, tables and JSON. ``now`` is an argument, in unix milliseconds."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..protocol import sizes
from ..protocol.record import Record as Fields

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    from typing import Any

Record = dict[str, "Any"]


class Table(Fields):
    """A table for people."""

    __slots__ = __match_args__ = ("header", "rows")

    def __init__(self, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
        self.header = header
        self.rows = rows


def clean(text: str) -> str:
    """``text`` in one line without control characters: nothing an agent wrote may move the cursor in a table."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def short(text: str, width: int = 60) -> str:
    """The start of ``text``, cleaned, at most ``width`` characters."""
    line = clean(text[: width * 4].strip())
    return line if len(line) <= width else line[: width - 1] + "…"


def age(milliseconds: int) -> str:
    """How long, in the largest unit that says it: ``9s``, ``5m``, ``3h``, ``12d``."""
    seconds = max(milliseconds, 0) // 1000
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def duration(milliseconds: int) -> str:
    """A turn's duration: ``412 ms``, ``3.2 s``, ``5 m 7 s``."""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f} s"
    return f"{milliseconds // 60_000} m {milliseconds // 1000 % 60} s"


def moment(milliseconds: int) -> str:
    """Local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(milliseconds / 1000))


def plain(value: Any) -> Any:
    """``value`` as JSON can carry it: bytes become text, or base64 if they are not UTF-8; keys become text."""
    if isinstance(value, bytes):
        return _text_of(value)
    if isinstance(value, dict):
        return dict(map(_pair, value.items()))  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
    if isinstance(value, list):
        return list(map(plain, value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, float) and value - value != 0:  # inf and nan, which JSON does not know
        return str(value)
    return value


def _pair(entry: tuple[Any, Any]) -> tuple[str, Any]:
    return str(plain(entry[0])), plain(entry[1])


def _text_of(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        import base64

        return {"base64": base64.b64encode(value).decode()}


def json_text(value: Any, *, indent: int | None = None) -> str:
    """One line of JSON, or more if ``indent`` is given."""
    import json

    return json.dumps(plain(value), ensure_ascii=False, indent=indent)


def columns(table: Table) -> str:
    """The table as lines whose columns are aligned by spaces."""
    lines = [table.header, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.header))]
    return "".join("  ".join(map(str.ljust, line, widths)).rstrip() + "\n" for line in lines)


def sessions(records: list[Record], now: int) -> Table:
    rows = [
        (
            session["id"],
            session["name"] or "-",
            session["engine"],
            "archived" if session["archived"] else session["state"],
            str(session["queued"]),
            age(now - session["active_at"]),
            clean(session["workspace"]),
            "; ".join(marks(session)),
        )
        for session in records
    ]
    return Table(("SESSION", "NAME", "ENGINE", "STATE", "QUEUE", "AGE", "WORKSPACE", "NOTE"), rows)


def marks(session: Record) -> list[str]:
    """What a person must know of a session besides its state."""
    found: list[str] = []
    if hold := session["hold"]:
        found.append(f"on hold: {clean(hold['reason'])}")
    if session["interrupted"]:
        found.append(f"interrupted: {session['interrupted']}")
    if failure := session["failure"]:
        found.append(f"{failure['name']}: {short(failure['message'])}")
    return found


def turns(records: list[Record], now: int) -> Table:
    rows = [
        (
            str(turn["number"]),
            turn["id"],
            "cancelling" if turn["cancelling"] else turn["state"],
            clean(turn["reason"] or ""),
            age(now - turn["created_at"]),
            "" if turn["duration"] is None else duration(turn["duration"]),
            short(turn["input"]),
        )
        for turn in records
    ]
    return Table(("NUMBER", "TURN", "STATE", "REASON", "AGE", "TOOK", "PROMPT"), rows)


def checkpoints(records: list[Record], now: int) -> Table:
    rows = [
        (clean(saved["name"]), saved["through_turn"] or "-", str(saved["bytes"]), age(now - saved["at"]))
        for saved in records
    ]
    return Table(("CHECKPOINT", "THROUGH", "BYTES", "AGE"), rows)


def engines(records: list[Record]) -> Table:
    rows = [
        (clean(engine["name"]), engine["kind"], "yes" if engine["default"] else "", clean(" ".join(engine["command"])))
        for engine in records
    ]
    return Table(("ENGINE", "KIND", "DEFAULT", "COMMAND"), rows)


def processes(records: list[Record]) -> Table:
    rows = [
        (
            used["session"] or "-",
            "roostd" if used["session"] is None else used["name"] or "-",
            str(used["pid"]),
            str(used["processes"]),
            str(used["threads"]),
            duration(used["cpu"]),
            f"{used['memory'] / 1024**2:.1f}M",
            str(used["descriptors"]),
            age(used["age"]),
        )
        for used in records
    ]
    return Table(("SESSION", "NAME", "PID", "PROCS", "THREADS", "CPU", "MEM", "FDS", "AGE"), rows)


def fields(pairs: list[tuple[str, str]]) -> str:
    """Named values, one a line, aligned; those that are empty are left out."""
    width = max((len(name) for name, _ in pairs), default=0)
    return "".join(f"{name.ljust(width)}  {clean(value)}\n" for name, value in pairs if value)


def session_fields(session: Record, now: int) -> list[tuple[str, str]]:
    saved = session["checkpoint_at"]
    return [
        ("session", session["id"]),
        ("name", session["name"] or ""),
        ("engine", f"{session['engine']} ({session['kind']})"),
        ("workspace", session["workspace"]),
        ("state", "archived" if session["archived"] else session["state"]),
        ("pid", str(session["pid"] or "")),
        ("limits", session_limits(session)),
        ("note", "; ".join(marks(session))),
        ("turn", session["turn"] or ""),
        ("last turn", f"{session['last_turn']} {session['last_turn_state']}" if session["last_turn"] else ""),
        ("turns", f"{session['turns']}, {session['queued']} queued"),
        ("usage", usage(session["usage"])),
        ("saved", f"{age(now - saved)} ago, through {session['through_turn'] or 'no turn'}" if saved else ""),
        ("created", moment(session["created_at"])),
        ("last event", str(session["seq"])),
    ]


def session_limits(session: Record) -> str:
    """The limits that it has of its own: ``memory-max 2GiB, cpu-max 1.5``. An older daemon has none."""
    own = {name: value for name, value in session.get("limits", {}).items() if value is not None}
    shown = {name: sizes.shown(value) if name == "memory_max" else str(value) for name, value in own.items()}
    return ", ".join(f"{name.replace('_', '-')} {text}" for name, text in shown.items())


def turn_fields(turn: Record) -> list[tuple[str, str]]:
    problem = turn["problem"]
    return [
        ("turn", turn["id"]),
        ("session", turn["session"]),
        ("number", str(turn["number"])),
        ("state", turn["state"] + (f" ({turn['reason']})" if turn["reason"] else "")),
        ("problem", f"{problem['name']}: {problem['message']}" if problem else ""),
        ("exit status", "" if turn["exit_code"] is None else str(turn["exit_code"])),
        ("retry of", turn["retry_of"] or ""),
        ("usage", usage(turn["usage"])),
        ("sent", moment(turn["created_at"])),
        ("took", "" if turn["duration"] is None else duration(turn["duration"])),
        ("progress", progress(turn.get("progress"))),
        ("prompt", turn["input"]),
    ]


def progress(told: Record | None) -> str:
    """``halfway (50%)``. An older daemon tells none."""
    if told is None:
        return ""
    message: str = told["message"]
    return message + ("" if told["fraction"] is None else f" ({told['fraction']:.0%})")


def usage(used: Record) -> str:
    named = [f"{name.removesuffix('_tokens')} {count}" for name, count in used.items() if count and name != "cost"]
    return ", ".join(named) + (f", cost {used['cost']:g}" if used.get("cost") else "")


def event_line(event: Record, *, of_all: bool) -> str:
    """One event as a line: its number, time, kind, turn, and what its data says; among all, its session too."""
    at = time.strftime("%H:%M:%S", time.localtime(event["at"] / 1000))
    number = f"{event['offset']} {event['session'] or '-'}" if of_all else str(event["seq"])
    about = " ".join(f"{name}={_brief(value)}" for name, value in event["data"].items())
    return " ".join(filter(None, (number, at, event["kind"], event["turn"] or "", clean(about))))


def _brief(value: Any) -> str:
    match value:
        case {"id": str(known)}:
            return known
        case str():
            return short(value)
        case dict() | list():
            return short(json_text(value))
        case _:
            return str(value)
