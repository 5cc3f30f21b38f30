"""The params of a request, validated; their mistake, as a sentence that names the field."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ...protocol.errors import InvalidParams
from ...protocol.params import Params

_LONGEST_NAME = 64
_MOST_ERRORS = 20

P = TypeVar("P", bound=Params)


def validated(method: str, model: type[P], raw: dict[str, Any]) -> P:
    """``raw`` as ``model``.

    Raises:
        InvalidParams: its message has the first mistake, ``data.errors`` all of them.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as exc:
        raise _invalid(method, model, exc) from None


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The name that was probably meant."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, known, n=1)), None) if len(word) <= _LONGEST_NAME else None


def shown(word: object) -> str:
    """``word`` of a client, short enough for a sentence."""
    text = str(word)
    return text if len(text) <= _LONGEST_NAME else text[:_LONGEST_NAME] + "…"


def _invalid(method: str, model: type[Params], exc: ValidationError) -> InvalidParams:
    found = exc.errors(include_url=False, include_input=False)[:_MOST_ERRORS]
    errors = [{"field": _path(error["loc"]), "problem": _problem(model, error)} for error in found]
    return InvalidParams(f"{method}: {errors[0]['problem']}", method=method, **errors[0], errors=errors)


def _path(loc: tuple[int | str, ...]) -> str:
    return ".".join(shown(step) for step in loc if step != "[key]")


def _problem(model: type[Params], error: ErrorDetails) -> str:
    field, text = _path(error["loc"]), error["msg"]
    match error["type"]:
        case "missing":
            return f"{field} is missing"
        case "extra_forbidden":
            return _unknown_field(model, error["loc"])
        case "value_error":
            return text.removeprefix("Value error, ")
        case _:
            pass
    if text.startswith("Input "):
        return f"{field} {text.removeprefix('Input ')}"
    return f"{field}: {text[0].lower()}{text[1:]}"


def _unknown_field(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    known = _fields(model, loc[:-1])
    meant = nearest(str(loc[-1]), known)
    ending = f"; did you mean {meant!r}?" if meant else f"; it takes {', '.join(known) or 'none'}"
    return f"there is no field {_path(loc)!r}{ending}"


def _fields(model: type[BaseModel], path: tuple[int | str, ...]) -> Mapping[str, object]:
    """The fields of the model that ``path`` leads to from ``model``."""
    for step in path:
        annotation = model.model_fields[str(step)].annotation
        model = next(c for c in (annotation, *get_args(annotation)) if isinstance(c, type) and issubclass(c, BaseModel))
    return model.model_fields
