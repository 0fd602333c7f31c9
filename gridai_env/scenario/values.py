"""The kinds of values of a scenario file, each with its range; and the strict model that its tables are."""

import re
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Efficiency = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Real = Annotated[float, Field(allow_inf_nan=False)]
Latitude = Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
Longitude = Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\- ]*$", max_length=40)]


MOST_LISTED = 1000  # entries of a list
DAY_SCHEMA = {"type": "string", "format": "date", "pattern": r"^\d{4}-\d{2}-\d{2}$"}


def _day(value: Any) -> Any:
    """Turn ISO text into a date; YAML gives dates, JSON gives text."""
    if isinstance(value, datetime):
        raise ValueError("must be a date YYYY-MM-DD without a time of day")
    if isinstance(value, str) and not re.fullmatch(DAY_SCHEMA["pattern"], value):
        raise ValueError("write it as 2023-07-01")
    return date.fromisoformat(value) if isinstance(value, str) else value


def _whole(value: Any) -> Any:
    """Turn 3.0 into 3: JSON knows no other difference between them."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = BeforeValidator(_whole)
Day = Annotated[date, BeforeValidator(_day), WithJsonSchema(DAY_SCHEMA)]
Names = Annotated[
    list[Name], Field(min_length=1, max_length=MOST_LISTED, json_schema_extra={"uniqueItems": True})
]
ForecastKind = Literal["perfect", "persistence", "day_ahead", "published"]


def _rising(value: list[float]) -> list[float]:
    if value[0] > value[1]:
        raise ValueError("must be [first, last], the first at most the last")
    return value


HourRange = Annotated[list[NonNegative], Field(min_length=2, max_length=2), AfterValidator(_rising)]


class StrictModel(BaseModel):
    """Base: frozen, no unknown keys, numbers must be numbers (no text, no booleans, no NaN or infinity)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def table_of_text(value: Any) -> Any:
    """Turn "FILE,key=value,..." into a table; what is no text is left to the checks of the table."""
    if not isinstance(value, str):
        return value
    source, *options = value.split(",")
    table: dict[str, Any] = {"source": source.strip()}

    for option in options:
        key, sign, text = (part.strip() for part in option.partition("="))
        if not sign:
            raise ValueError(f"{option!r} is no key=value; write FILE,model=m-large,repeat=true")
        if key in table:
            raise ValueError(f"{key!r} stands twice")
        table[key] = _option(key, text)
    return table


def _option(key: str, text: str) -> Any:
    """Return the value of an option in text: true, false, a number, for classes a list split at "+"."""
    if key == "classes":
        return text.split("+")
    if key in ("format", "model", "timezone"):  # texts, also such as 2024
        return text
    try:
        return {"true": True, "false": False}[text] if text in ("true", "false") else float(text)
    except ValueError:
        return text
