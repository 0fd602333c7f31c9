"""Errors of a scenario in words: key path, value, allowed range, unit, and what to do."""

import difflib
import json
import reprlib
from collections.abc import Iterable, Iterator
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from gridai_env.scenario.spec import Scenario

# Ends of key names and the units they stand for, longest first where one contains another.
UNITS: dict[str, str] = json.loads(Path(__file__).with_name("units.json").read_text(encoding="utf-8"))

LISTED = 40  # of known names in a message: there are 600 time zones
TABLE = "a table of keys"
UNKNOWN = "(unknown)"  # stands for a text that is wrong while other keys are checked

# Values are shown in part: anchors can make a short file into a very long value.
_SHOWN = reprlib.Repr()
_SHOWN.maxlevel, _SHOWN.maxstring, _SHOWN.maxlong, _SHOWN.maxother = 3, 60, 60, 60


class ScenarioError(ValueError):
    """A scenario that cannot be used: ``problems`` has a line for each fault, the message has all."""

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


def unit_of(key: str) -> str:
    """Return the unit that the name of a key stands for; "no unit" for shares, factors, names."""
    name = key.rsplit(".", 1)[-1].split("[", 1)[0]
    return next((unit for end, unit in UNITS.items() if name.endswith(end)), "no unit")


def problem(key: str, value: Any, allowed: str, advice: str = "") -> str:
    """Return one line: key, value, allowed range, unit, and what to do."""
    return f"{key} = {_short(value)}: must be {allowed} [{unit_of(key)}]" + (f" ({advice})" if advice else "")


def raise_all(source: str, problems: Iterable[str]) -> None:
    """Raise one ScenarioError with all problems; do nothing without problems."""
    lines = tuple(problems)
    if lines:
        count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
        raise ScenarioError("\n  ".join((f"{source}: {count}", *lines)), lines)


def closest(name: str, known: Iterable[str]) -> str:
    """Return advice that names the closest known name, or some of them where none is close."""
    names = list(known)
    match = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    more = f", ... ({len(names)} in all)" if len(names) > LISTED else ""
    return f"did you mean {match[0]!r}?" if match else f"known: {', '.join(names[:LISTED])}{more}"


def refuse_unknown(call: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise TypeError, with a suggestion, for the first given keyword that a call does not know."""
    if odd := [name for name in given if name not in known]:
        raise TypeError(f"{call}: got an unexpected keyword argument {odd[0]!r}; {closest(odd[0], known)}")


def from_pydantic(error: ValidationError, model: type[BaseModel] = Scenario) -> list[str]:
    """Return one line for each fault that pydantic found; a key that is only misspelt is not missing as well."""
    found = [_of_key(model, fault) for fault in error.errors(include_url=False)]
    faults = list({fault["loc"]: fault for fault in found}.values())
    meant = {_meant(e["loc"], model) for e in faults if e["type"] == "extra_forbidden"}
    return [_line(e, model) for e in faults if e["type"] != "missing" or e["loc"] not in meant]


def _of_key(model: type[BaseModel], fault: Any) -> Any:
    """Return a fault at the key itself where it is of one of the kinds of value that the key may have."""
    loc = fault["loc"]
    is_known = fault["type"] in ("extra_forbidden", "invalid_key") or not loc[1:] or schema_at(model, loc)
    return fault if is_known else fault | {"loc": loc[:-1]}


def _meant(loc: tuple[int | str, ...], model: type[BaseModel]) -> tuple[int | str, ...]:
    known = list(schema_at(model, loc[:-1]).get("properties", {}))
    return (*loc[:-1], *difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.5))


def _line(error: Any, model: type[BaseModel]) -> str:
    loc, kind, value = error["loc"], error["type"], error["input"]
    key = key_path(loc)
    if not loc and kind == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    if kind == "extra_forbidden":
        known = list(schema_at(model, loc[:-1]).get("properties", {}))
        return f"{key} = {_short(value)}: unknown key ({closest(str(loc[-1]), known)})"
    if kind == "invalid_key":
        return f"key {loc[-1]!r} = {_short(value)}: unknown key (keys must be text)"

    schema = schema_at(model, loc)
    allowed = allowed_range(schema)
    if kind == "missing":
        what = schema.get("description", "")
        return f"{key}: missing; must be {allowed} [{unit_of(key)}]" + (f" ({what})" if what else "")

    # The checks of this package word their own advice; pydantic's messages are left out.
    if kind == "value_error":
        advice = error["msg"].removeprefix("Value error, ")
    else:
        advice = schema.get("description", "") if kind == "too_short" else _advice(value, allowed)
    return problem(key, value, allowed, advice)


def _advice(value: Any, allowed: str) -> str:
    """Return what to write where YAML read a number, text or true/false other than the key needs."""
    if allowed == TABLE:
        return "exactly one, not a list" if isinstance(value, list) else ""
    if "number" in allowed:
        if isinstance(value, str) and not allowed.startswith("'"):
            return "text; write a plain number such as 1000.0, the unit is in the name of the key"
        return "true/false is not a number" if isinstance(value, bool) else ""
    if not allowed.startswith(("text", "a name")):
        return ""

    if isinstance(value, bool):
        words = "yes, on" if value else "NO, no, off"
        return (
            f"YAML reads {words} and {str(value).lower()} as {value}: quote it, e.g. {words.split(',')[0]!r}"
        )
    return "quote it, so that YAML reads text" if isinstance(value, int | float) else ""


def _short(value: Any) -> str:
    """Return the repr of a value, cut to a readable length."""
    text = _SHOWN.repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def key_path(loc: tuple[int | str, ...]) -> str:
    """Return ``sites[2].battery.capacity_mwh`` for ("sites", 2, "battery", "capacity_mwh")."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".") or "the file"


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def scenario_schema() -> dict[str, Any]:
    """Return the JSON schema of scenario files for editors: each number with its unit in its description."""
    schema = Scenario.model_json_schema()
    for table in (schema, *schema["$defs"].values()):
        for key, node in table["properties"].items():
            if {"number", "integer"} & set(_types(node)):
                node["description"] = f"{node.get('description', '')} [{unit_of(key)}]".lstrip()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _types(node: dict[str, Any]) -> Iterator[str]:
    """Yield the types of a value of a schema, of its alternatives and of the entries of a list."""
    yield node.get("type", "")
    for option in (*node.get("anyOf", ()), node.get("items", {})):
        if option:
            yield from _types(option)


def schema_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> dict[str, Any]:
    """Return the JSON schema of the value at ``loc`` of a model, without references (empty where there is none)."""
    root = _schema(model)
    node = root
    for part in loc:
        node = _resolve(root, node)
        node = (
            node.get("items", {}) if isinstance(part, int) else node.get("properties", {}).get(str(part), {})
        )
    return _resolve(root, node)


def _resolve(root: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference, and take the part of ``X or null`` that is not null."""
    for option in node.get("anyOf", []):
        if option.get("type") != "null":
            node = {k: v for k, v in node.items() if k != "anyOf"} | option
    if "$ref" in node:
        node = node | root["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    return node


def allowed_range(schema: dict[str, Any]) -> str:
    """Return what a JSON schema allows, in words: "a number in (0, 1]", "one of 'a', 'b'"."""
    kind = schema.get("type", "")
    if "const" in schema and kind != "string":
        rest = {key: value for key, value in schema.items() if key != "const"}
        return f"{schema['const']!r} or {allowed_range(rest)}"
    if "enum" in schema:
        return "one of " + ", ".join(repr(v) for v in schema["enum"])
    if kind in ("number", "integer"):
        return ("a whole number" if kind == "integer" else "a number") + _interval(schema)
    if kind == "array":
        most = f", at most {schema['maxItems']}" if "maxItems" in schema else ""
        return "a list" + (" with at least one entry" if schema.get("minItems") else "") + most
    if schema.get("format") == "date":
        return "a date YYYY-MM-DD"
    if "pattern" in schema and kind == "string":
        return "a name of letters, digits, space, '.', '_', '-' (at most 40)"

    words = {"object": TABLE, "string": "text", "boolean": "true or false"}
    return words.get(kind, "a valid value") + (", not empty" if schema.get("minLength") else "")


def _interval(schema: dict[str, Any]) -> str:
    above, below = schema.get("exclusiveMinimum", -inf), schema.get("exclusiveMaximum", inf)
    low = f"[{schema['minimum']:g}" if "minimum" in schema else f"({above:g}"
    high = f"{schema['maximum']:g}]" if "maximum" in schema else f"{below:g})"
    return f" in {low}, {high}"
