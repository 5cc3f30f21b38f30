"""Rows of the database as records of ``protocol.model`` and back. Cheap: what we wrote is not checked again."""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import TypeAdapter

from ...protocol.model import (
    After,
    Author,
    EngineKind,
    Hold,
    Item,
    ItemKind,
    ItemState,
    Limits,
    Noun,
    Problem,
    Progress,
    Session,
    SessionState,
    Turn,
    TurnState,
    Usage,
)
from ...protocol.rpc import pack, unpack

N = TypeVar("N", bound=Noun)
Row = tuple[Any, ...]


class Codec(NamedTuple):
    """How one field stands in its column; NULL and None are each other and never reach it."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


class Table(Generic[N]):
    """One table whose columns are the fields of ``noun``; the first is its ``id``."""

    def __init__(self, name: str, noun: type[N], codecs: Mapping[str, Codec]) -> None:
        self.fields = tuple(noun.model_fields)
        columns = [f'"{field}"' for field in self.fields]
        self.select = f"SELECT {', '.join(columns)} FROM {name}"
        self._codecs = tuple((self.fields.index(field), field, *codec) for field, codec in codecs.items())
        self._noun = noun
        names = set(self.fields)
        self._internals = (
            ("__pydantic_fields_set__", names),
            ("__pydantic_extra__", None),
            ("__pydantic_private__", None),
        )
        self._get = f"{self.select} WHERE id = ?"
        # Not the id, though it is the same: SQLite would look at every row that refers to it
        self._update = f"UPDATE {name} SET {', '.join(f'{column} = ?' for column in columns[1:])} WHERE id = ?"
        self._insert = f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"

    def load(self, row: Row) -> N:
        values = dict(zip(self.fields, row, strict=True))
        for index, field, _, decode in self._codecs:
            if row[index] is not None:
                values[field] = decode(row[index])
        return self._made(values)

    def changed(self, record: N, **fields: Any) -> N:
        """A copy of ``record`` with other values for ``fields``."""
        return self._made({**record.__dict__, **fields})

    def _made(self, values: dict[str, Any]) -> N:
        # What model_construct does, less what costs: half the time for a start with 10,000 sessions,
        # and a set of all fields' names for each record in memory: 2 kB
        record = object.__new__(self._noun)
        for name, value in (("__dict__", values), *self._internals):
            object.__setattr__(record, name, value)
        return record

    def dump(self, record: N) -> list[Any]:
        row = [getattr(record, field) for field in self.fields]
        for index, _, encode, _ in self._codecs:
            if row[index] is not None:
                row[index] = encode(row[index])
        return row

    def get(self, conn: sqlite3.Connection, key: str) -> N | None:
        row = conn.execute(self._get, (key,)).fetchone()
        return None if row is None else self.load(row)

    def all(self, conn: sqlite3.Connection, rest: str, params: Iterable[Any] = ()) -> list[N]:
        """Records of the rows that ``rest`` (from WHERE on) selects."""
        return [self.load(row) for row in conn.execute(f"{self.select} {rest}", tuple(params))]

    def put(self, conn: sqlite3.Connection, record: N) -> bool:
        """Write ``record`` over its row, or as a new one; True if it is new."""
        row = self.dump(record)
        if conn.execute(self._update, (*row[1:], row[0])).rowcount:
            return False
        conn.execute(self._insert, row)
        return True


def _enum(kind: type[StrEnum]) -> Codec:
    return Codec(str, {member.value: member for member in kind}.__getitem__)


def _noun(noun: type[Noun], cached: bool = False) -> Codec:
    def decode(data: bytes) -> Noun:
        return noun.model_validate(unpack(data))

    def encode(record: Noun) -> bytes:
        return pack(record.to_wire())

    # Few different values, and frozen: one object serves all
    return Codec(lru_cache(512)(encode), lru_cache(512)(decode)) if cached else Codec(encode, decode)


@lru_cache(512)
def _author(data: bytes) -> Author:
    found = unpack(data)
    found.setdefault("kind", "client")  # before there were others
    return _AUTHORS.validate_python(found)


@lru_cache(512)
def _packed(author: Author) -> bytes:
    return pack(author.to_wire())


_AUTHORS: TypeAdapter[Author] = TypeAdapter(Author, config={"defer_build": True})
_AUTHOR = Codec(_packed, _author)
_BOOL = Codec(int, bool)
_MAP = Codec(pack, unpack)

SESSIONS = Table(
    "sessions",
    Session,
    {
        "kind": _enum(EngineKind),
        "state": _enum(SessionState),
        "archived": _BOOL,
        "hold": _noun(Hold),
        "after": _noun(After, cached=True),
        "limits": _noun(Limits, cached=True),
        "last_turn_state": _enum(TurnState),
        "failure": _noun(Problem),
        "usage": _noun(Usage, cached=True),
    },
)
TURNS = Table(
    "turns",
    Turn,
    {
        "state": _enum(TurnState),
        "problem": _noun(Problem),
        "cancelled_by": _AUTHOR,
        "author": _AUTHOR,
        "usage": _noun(Usage, cached=True),
        "progress": _noun(Progress),
    },
)
ITEMS = Table("items", Item, {"kind": _enum(ItemKind), "state": _enum(ItemState), "truncated": _BOOL, "data": _MAP})
