"""Records for the quick path, where importing ``typing`` for its NamedTuple would cost 0.8 MB and 3 ms."""

from __future__ import annotations

TYPE_CHECKING = False  # docs/decisions/0030-performance.md says why
if TYPE_CHECKING:
    from typing import Any, TypeGuard


class Record:
    """A few fields, named in ``__match_args__``; equal to another of its kind whose fields are equal."""

    __slots__ = ()
    __match_args__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(getattr(self, f) == getattr(other, f) for f in self.__match_args__)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, field) for field in self.__match_args__))

    def __repr__(self) -> str:
        fields = ", ".join(f"{field}={getattr(self, field)!r}" for field in self.__match_args__)
        return f"{type(self).__name__}({fields})"


def is_map(value: object) -> TypeGuard[dict[Any, Any]]:
    """Whether it is a map, of whatever."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Whether it is an array, of whatever."""
    return isinstance(value, list | tuple)
