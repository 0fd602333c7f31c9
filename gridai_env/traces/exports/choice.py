"""Which rows and columns of an export are read: one series, of the kind and the place that the user chose."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gridai_env.traces.errors import TraceError
from gridai_env.traces.exports.forms import KINDS, SYMBOLS, Form
from gridai_env.traces.exports.rates import Column
from gridai_env.traces.exports.tables import Row, TextTable

Place = tuple[str, ...]  # what names a series: area, market, sequence, column
SHOWN = 12  # names listed in one message


@dataclass(frozen=True)
class Choices:
    """What the user chose of a file that holds more."""

    point: str | None = None  # area, settlement point, market, column
    usd_per: Mapping[str, float] = field(default_factory=dict)
    carbon: str = "direct"
    drop_estimated: bool = False
    zone: str | None = None  # of the trace file: names the currency of forms that cover several countries
    in_pounds: bool = False  # a file that does not name its unit is in lb/MWh


def kept_rows(table: TextTable, form: Form, carbon: str, notes: list[str]) -> Sequence[Row]:
    """Return the rows that a form reads: of the price and not its parts, of the version in force, of one kind."""
    rows: Sequence[Row] = table.rows
    for name, wanted in {**form.keep, **({form.kind: KINDS[carbon]} if form.kind else {})}.items():
        at = table.index(name)
        others = {} if at is None else Counter(row[at] for _, row in rows if row[at].lower() not in wanted)
        if at is None or not others:
            continue
        found = f"{table.header[at]} = {listed(others)}"
        rows = [row for row in rows if row[1][at].lower() in wanted]
        if not rows:
            one = f"; for that kind ask with carbon= (--carbon-kind), one of {', '.join(KINDS)}"
            raise table.error(f"all rows have {found}; need {' or '.join(wanted)}{one if form.kind else ''}")
        notes.append(f"{sum(others.values())} rows with {found} left out")

    if not rows:
        raise table.error("no rows below the header")
    return rows


def value_columns(table: TextTable, form: Form, carbon: str) -> list[Column]:
    """Return the columns of values; of carbon those of the kind asked for."""
    found = []
    for i, name in enumerate(table.header):
        match = re.fullmatch(form.values, name, re.IGNORECASE)
        groups = match.groupdict() if match else {}
        if match and groups.get("kind", KINDS[carbon][0]).lower() in KINDS[carbon]:
            currency = groups.get("currency") or ""
            found.append(Column(i, groups.get("place") or "", SYMBOLS.get(currency, currency.upper())))
    if not found:
        raise table.error(f"no column of the {carbon!r} carbon intensity; found {table.header}")
    return found


def fixed_place(table: TextTable, form: Form) -> Place:
    """Return the names of columns that name the place of all rows."""
    return tuple(n for n in table.header if form.place_header and re.fullmatch(form.place_header, n))


def one_place(
    table: TextTable, form: Form, given: Choices, notes: list[str]
) -> tuple[list[Place], list[Row], list[Column]]:
    """Return the place asked for, with its rows and columns; a point may name a whole place or one part of it."""
    rows, columns = kept_rows(table, form, given.carbon, notes), value_columns(table, form, given.carbon)
    at, fixed, point = table.indices(*form.places), fixed_place(table, form), given.point
    own = [(*fixed, *(row[i] for i in at)) for _, row in rows]
    count = Counter(own)
    every = {(*place, *filter(None, [column.place])): place for place in count for column in columns}
    if point is not None and list(every) == [()]:
        raise table.error(
            f"this form names no location; leave point={point!r} (--point, --carbon-zone, --marginal-region) out"
        )
    chosen = [place for place in every if point is None or " ".join(place) == point]
    chosen = chosen or [place for place in every if point in place]
    taken = [c for c in columns if not c.place or any(place[-1] == c.place for place in chosen)]
    if not chosen or (point is None and len(chosen) > 1) or len({column.place for column in taken}) > 1:
        raise choose(table, "" if point is None else f"{point!r} is not there, or is several: ", list(every))

    kept = {every[place] for place in chosen}
    if others := [place for place in every if place not in chosen]:
        left = sum(n for place, n in count.items() if place not in kept)
        notes.append(f"other series left out ({left} rows): {words(others)}")
    return chosen, [row for row, place in zip(rows, own, strict=True) if place in kept], taken


def choose(table: TextTable, why: str, places: list[Place]) -> TraceError:
    """Return the error that asks for one of several series."""
    return table.error(
        f"{why}it holds {words(places)}; choose one with point= (--point, --carbon-zone, --marginal-region)"
    )


def words(places: list[Place]) -> str:
    """Return the names of series in words."""
    return listed(" ".join(filter(None, place)) for place in places)


def listed(names: Iterable[str]) -> str:
    """Return different names in their order, at most SHOWN of them."""
    every = sorted({" ".join(name.split()) for name in names})
    return ", ".join(every[:SHOWN]) + (f" and {len(every) - SHOWN} more" if len(every) > SHOWN else "")
