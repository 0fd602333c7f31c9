"""What else is wrong with a scenario in which some keys are: so that one run of the checks names all faults.

Keys that pydantic refuses are replaced by marks: NaN, a text that no file has, the first day of the calendar.  The
checks across keys run on the rest, and a line that shows a mark is left out: it would blame a key that is right.
"""

import re
from datetime import date
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from gridai_env.scenario.checks import contradictions
from gridai_env.scenario.errors import UNKNOWN
from gridai_env.scenario.spec import Scenario

MARKS = re.compile(rf"\bnan\b|{re.escape(UNKNOWN)}|{date.min}")
MARK_OF = {bool: False, float: float("nan"), int: float("nan"), date: date.min}


def other_problems(data: dict[str, Any]) -> list[str]:
    """Return a line for each contradiction among the keys of a file that pydantic does not refuse."""
    return [line for line in contradictions(_partial(Scenario, data)) if not MARKS.search(line)]


def _partial(kind: Any, value: Any) -> Any:
    """Return what a type makes of a value, with marks for the parts of it that are refused or missing."""
    try:
        return TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        whole = any(not fault["loc"] for fault in error.errors(include_url=False))
    plain = _plain(kind)
    if get_origin(plain) is list and isinstance(value, list) and not whole:
        return [_partial(get_args(plain)[0], part) for part in value]
    if not _is_table(plain) or not isinstance(value, dict) or whole:
        return _mark(plain)

    parts = {
        name: _partial(Annotated[field.annotation, field], value.get(name, ...))
        for name, field in plain.model_fields.items()
        if name in value or field.is_required()
    }
    return plain.model_construct(**parts)


def _mark(kind: Any) -> Any:
    plain = _plain(kind)
    if get_origin(plain) is list:
        return [_mark(get_args(plain)[0])]
    if _is_table(plain):
        parts = {name: _mark(field.annotation) for name, field in plain.model_fields.items()}
        return plain.model_construct(**parts)
    return MARK_OF.get(plain, UNKNOWN)


def _is_table(plain: Any) -> bool:
    return isinstance(plain, type) and issubclass(plain, BaseModel)


def _plain(kind: Any) -> Any:
    """Return a type without its limits, without None, and without the words that may stand for a number."""
    while (origin := get_origin(kind)) in (Annotated, Union, UnionType):
        options = list(get_args(kind))
        if origin is not Annotated:
            some = [one for one in options if one is not NoneType]
            options = [one for one in some if get_origin(one) is not Literal] or some
        kind = options[0]
    return kind
