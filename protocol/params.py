"""The parts of the params of all methods."""

from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from .model import Noun


class Params(BaseModel):
    """The params of a request. Unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


_KEY = "a key of the client's choice: the same key again returns the first result"
Key = Annotated[str | None, Field(default=None, min_length=1, max_length=128, description=_KEY)]


class Reference(NamedTuple):
    """Marks a field that names a ``session`` or a ``turn``: the daemon puts the id there before it does anything."""

    noun: Literal["session", "turn"]


_Name = Annotated[str, Field(min_length=1, max_length=128)]
SessionRef = Annotated[_Name, Field(description="id, unique start of an id, or name"), Reference("session")]
TurnRef = Annotated[_Name, Field(description="id or unique start of an id"), Reference("turn")]
Count = Annotated[int, Field(ge=1, le=1000, description="at most this many")]
Number = Annotated[int, Field(ge=0, le=2**53)]
"""Of an event, or of a byte: every language has it, and SQLite too."""
Cursor = Annotated[Number, Field(description="`next` of the page before; 0 for the first")]
EnvName = Annotated[str, Field(pattern=r"^[^=\x00]+$", max_length=256)]
EnvValue = Annotated[str, Field(pattern=r"^[^\x00]*$", max_length=131072)]


class Nothing(Params):
    pass


class Done(Noun):
    """An empty result: it was done."""
