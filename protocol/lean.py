"""Stand-ins for ``typing``: importing it costs each worker 1.2 MB and each quick verb of the CLI 5 ms.

Type checkers see the real ones. At run time only :class:`NamedTuple` does anything.
"""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False  # type checkers take this name for true

if TYPE_CHECKING:
    from typing import Any, ClassVar, NamedTuple, cast
else:
    Any = object
    ClassVar = type

    def cast(kind, value):
        return value

    class _Fields(type):
        """Makes a ``collections.namedtuple`` of the annotations in a class body."""

        def __new__(cls, name, bases, body):
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = list(body["__annotations__"])
            made = namedtuple(name, fields, defaults=[body[f] for f in fields if f in body], module=body["__module__"])
            made.__doc__ = body.get("__doc__", made.__doc__)
            return made

    class NamedTuple(metaclass=_Fields):
        """The base of a named tuple; its module has ``from __future__ import annotations``."""


__all__ = ["TYPE_CHECKING", "Any", "ClassVar", "NamedTuple", "cast"]
