"""What else is wrong with a scenario in which some keys are: so that one run of the checks names all faults.

Keys that pydantic refuses are replaced by marks: NaN, a text that no file has, the first day of the calendar.  The
checks across keys run on the rest, and a line that shows a mark is left out: it would blame a key that is right.
"""

from __future__ import annotations

import copy
import re
from datetime import date
from typing import Any

from pydantic import BaseModel, ValidationError

from gridai_env.scenario.checks import contradictions
from gridai_env.scenario.errors import UNKNOWN, schema_at
from gridai_env.scenario.spec import Scenario

Loc = tuple[int | str, ...]
MARKS = re.compile(rf"\bnan\b|{re.escape(UNKNOWN)}|{date.min}")


def other_problems(data: dict[str, Any], error: ValidationError) -> list[str]:
    """Return a line for each contradiction among the keys of a file that pydantic did not refuse."""
    patched, marked = copy.deepcopy(data), []
    for fault in error.errors(include_url=False):
        loc: Loc = fault["loc"]
        if loc[0] == "demand" and isinstance(patched.get("demand"), str):
            patched.pop("demand")  # its parts stand in one text
        elif fault["type"] in ("extra_forbidden", "invalid_key"):
            table = _node(patched, loc[:-1])
            for key in [key for key in table if str(key) == str(loc[-1])]:
                del table[key]
        else:
            _node(patched, loc[:-1])[loc[-1]] = _stand_in(loc)
            marked.append(loc)

    scenario = Scenario.model_validate(patched)
    for loc in marked:
        scenario = _with_mark(scenario, loc)
    return [line for line in contradictions(scenario) if not MARKS.search(line)]


def _node(data: Any, loc: Loc) -> Any:
    for part in loc:
        data = data[part]
    return data


def _stand_in(loc: Loc) -> Any:
    """Return some value that the schema allows at a place; it is replaced by a mark later on."""
    schema = schema_at(Scenario, loc)
    kind = schema.get("type")
    if "enum" in schema:
        return schema["enum"][0]
    if kind in ("number", "integer"):
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        high = schema.get("maximum", schema.get("exclusiveMaximum", low + 2))
        return int(low) if kind == "integer" else (low + high) / 2

    if kind == "array":
        return [_stand_in((*loc, 0))] if schema.get("minItems") else []
    if kind == "object":
        return {key: _stand_in((*loc, key)) for key in schema.get("required", ())}
    if kind == "boolean":
        return False
    return "2023-01-01" if schema.get("format") == "date" else "unknown"


def _with_mark(node: Any, loc: Loc) -> Any:
    """Return a scenario, or what lies in it, with marks instead of the value at ``loc``."""
    if not loc:
        return _marks(node)
    here, rest = loc[0], loc[1:]
    if isinstance(node, list):
        return [_with_mark(item, rest) if i == here else item for i, item in enumerate(node)]
    return node.model_copy(update={str(here): _with_mark(getattr(node, str(here)), rest)})


def _marks(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_copy(update={key: _marks(part) for key, part in value})
    if isinstance(value, list):
        return [_marks(part) for part in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, date):
        return date.min
    return UNKNOWN if isinstance(value, str) else float("nan")
