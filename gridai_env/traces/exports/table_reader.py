"""The reader of all forms of `gridai_env.traces.exports.forms`: a table becomes a series of one zone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from gridai_env.arrays.types import Float, Floats
from gridai_env.traces.bounds import POSSIBLE
from gridai_env.traces.errors import TraceError
from gridai_env.traces.exports.clock import Stamp, numbered_hour, read_stamp, to_utc, told_by_order
from gridai_env.traces.exports.forms import AVERAGE, FORMS, KINDS, PRICE, SYMBOLS, US_ZONES, Form
from gridai_env.traces.exports.rates import Rates
from gridai_env.traces.exports.series import Export
from gridai_env.traces.exports.tables import Row, TextTable, stamp_columns
from gridai_env.traces.files.cells import number, plain_numbers
from gridai_env.traces.local_time import EPOCH

NO_VALUE = {"", "-", "--", "n/e", "n/a", "na", "nan", "null"}
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


@dataclass(frozen=True)
class Column:
    """A column of values."""

    index: int
    place: str
    currency: str


def read_table(table: TextTable, name: str, given: Choices) -> Export:
    """Read the one series of a table that ``given`` chooses; rows ascend or descend as they do in the file.

    Raises TraceError naming file, line or column for all that cannot be used as asked.
    """
    form, notes = FORMS[name], list[str]()
    rows = _kept(form, table, given.carbon, notes)
    if form.units and table.index(form.units) is None and not given.in_pounds:
        raise TraceError(
            f"{table.path}: no column {form.units!r} says that the values are in lb/MWh; where they are, say "
            "in_pounds=True (--marginal-in-pounds); else export with the units"
        )
    chosen, rows, columns = _one_place(
        form, table, rows, _columns(form, table, given.carbon), given.point, notes
    )
    rates = Rates(table.path, given.usd_per)
    column = _one_currency(columns, rates)

    # Hours that come twice on a clock are told apart by their order, so the newest-first is turned round.
    begin, end = _stamps(form, table, [rows[0], rows[-1]], [True, True])
    if begin.moment.replace(tzinfo=None) > end.moment.replace(tzinfo=None):
        rows = rows[::-1]
    values = _numbers(form, table, rows, column, given.drop_estimated, notes)
    stamps = _stamps(form, table, rows, np.isfinite(values).tolist())
    utc = _utc(form, table, rows, stamps)
    if len(chosen) > 1 and len(set(utc)) < len(utc):
        raise _choose(table.path, f"{given.point!r} is several series", chosen)
    taken = [i for i, minute in enumerate(utc) if minute is not None]
    if lost := len(rows) - len(taken):
        notes.append(f"{lost} rows left out: empty ones of an hour that clocks skip, or stamps with seconds")

    scaled = values * _factors(form, table, rows, column, rates, given.zone)
    notes += _unused(form, table, columns)
    kind = [given.carbon.replace("_", " ")] if form.column == AVERAGE else []
    return Export(
        str(table.path),
        name,
        ", ".join(filter(None, [f"{form.title} {_words(chosen)}".strip(), *kind, rates.finish()])),
        np.array([utc[i] for i in taken], dtype=np.int64),
        {form.column: scaled[taken]},
        zone=chosen[0][0] if chosen[0] else None,
        ends_below_min=form.ends_below_min,
        by_order=told_by_order(stamps, (stamp_columns(form, table) or ([], ""))[1]),
        notes=tuple(notes),
    )


# Which series -------------------------------------------------------------------------------------------------------


def _kept(form: Form, table: TextTable, carbon: str, notes: list[str]) -> Sequence[Row]:
    """Return the rows that a form reads: of the price and not its parts, of the version in force, of one kind."""
    if carbon not in KINDS:
        raise TraceError(f"carbon = {carbon!r}: must be one of {', '.join(KINDS)}")
    rows: Sequence[Row] = table.rows
    for name, wanted in {**form.keep, **({form.kind: KINDS[carbon]} if form.kind else {})}.items():
        at = table.index(name)
        others = {} if at is None else Counter(row[at] for _, row in rows if row[at].lower() not in wanted)
        if at is None or not others:
            continue
        found = f"{table.header[at]} = {_listed(others)}"
        rows = [row for row in rows if row[1][at].lower() in wanted]
        if not rows:
            advice = (
                f"; for that kind ask with carbon= (--carbon-kind), one of {', '.join(KINDS)}"
                if form.kind
                else ""
            )
            raise TraceError(f"{table.path}: all rows have {found}; need {' or '.join(wanted)}{advice}")
        notes.append(f"{sum(others.values())} rows with {found} left out")

    if not rows:
        raise TraceError(f"{table.path}: no rows below the header")
    return rows


def _columns(form: Form, table: TextTable, carbon: str) -> list[Column]:
    """Return the columns of values; of carbon those of the kind asked for."""
    found = []
    for i, name in enumerate(table.header):
        match = re.fullmatch(form.values, name, re.IGNORECASE)
        groups = match.groupdict() if match else {}
        if match and groups.get("kind", KINDS[carbon][0]).lower() in KINDS[carbon]:
            currency = groups.get("currency") or ""
            found.append(Column(i, groups.get("place") or "", SYMBOLS.get(currency, currency.upper())))
    if not found:
        raise TraceError(f"{table.path}: no column of the {carbon!r} carbon intensity; found {table.header}")
    return found


def _one_place(
    form: Form,
    table: TextTable,
    rows: Sequence[Row],
    columns: list[Column],
    point: str | None,
    notes: list[str],
) -> tuple[list[Place], list[Row], list[Column]]:
    """Return the place asked for, with its rows and columns; a point may name a whole place or one part of it."""
    at = table.indices(*form.places)
    fixed = tuple(n for n in table.header if form.place_header and re.fullmatch(form.place_header, n))
    own = [(*fixed, *(row[i] for i in at)) for _, row in rows]
    count = Counter(own)
    every = {(*place, *filter(None, [column.place])): place for place in count for column in columns}
    if point is not None and list(every) == [()]:
        raise TraceError(
            f"{table.path}: this form names no location; leave point={point!r} (--point, --carbon-zone) out"
        )
    chosen = list(every) if point is None else [place for place in every if " ".join(place) == point]
    chosen = chosen or [place for place in every if point in place]
    taken = [column for column in columns if not column.place or any(p[-1] == column.place for p in chosen)]
    if not chosen or (point is None and len(chosen) > 1) or len({column.place for column in taken}) > 1:
        raise _choose(
            table.path, "" if point is None else f"{point!r} is not there, or is several", list(every)
        )

    kept = {every[place] for place in chosen}
    if others := [place for place in every if place not in chosen]:
        left = sum(n for place, n in count.items() if place not in kept)
        notes.append(f"other series left out ({left} rows): {_words(others)}")
    return chosen, [row for row, place in zip(rows, own, strict=True) if place in kept], taken


def _choose(path: Path, why: str, places: list[Place]) -> TraceError:
    start = f"{why}: " if why else ""
    return TraceError(
        f"{path}: {start}it holds {_words(places)}; choose one with point= (--point, --carbon-zone)"
    )


def _words(places: list[Place]) -> str:
    return _listed(" ".join(filter(None, place)) for place in places)


def _listed(names: Iterable[str]) -> str:
    every = sorted({" ".join(name.split()) for name in names})
    return ", ".join(every[:SHOWN]) + (f" and {len(every) - SHOWN} more" if len(every) > SHOWN else "")


def _unused(form: Form, table: TextTable, columns: list[Column]) -> list[str]:
    """Return which columns were not read, in words."""
    stamped = stamp_columns(form, table) or ([], "")
    named = [
        *form.places,
        *form.needs,
        *form.keep,
        form.kind,
        form.estimated,
        form.second,
        form.check[0],
        "currency",
    ]
    used = {*stamped[0], *table.indices(*filter(None, named)), *(column.index for column in columns)}
    rest = [name for i, name in enumerate(table.header) if i not in used and name]
    rest = [name for name in rest if not (form.place_header and re.fullmatch(form.place_header, name))]
    return [f"columns not used: {', '.join(rest)}"] if rest else []


# Its values ---------------------------------------------------------------------------------------------------------


def _one_currency(columns: list[Column], rates: Rates) -> Column:
    """Return the column to read where a price stands in several currencies."""
    offered = [column.currency for column in columns]
    return columns[0] if len(columns) == 1 else columns[offered.index(rates.best(offered))]


def _numbers(
    form: Form, table: TextTable, rows: list[Row], column: Column, drop_estimated: bool, notes: list[str]
) -> Float[Floats, " N"]:
    """Return the values as they stand in the file; NaN where there is none, or where estimates are not wanted."""
    mark = table.index(form.estimated) if form.estimated else None
    if drop_estimated and mark is None:
        raise TraceError(
            f"{table.path}: no column marks estimates; leave drop_estimated (--drop-estimated) out"
        )
    values, estimated = np.full(len(rows), np.nan), 0
    name, (low, high) = table.header[column.index], POSSIBLE[form.column]
    plain = plain_numbers(table.path, [(line, cells[column.index]) for line, cells in rows])

    for i, (line, cells) in enumerate(rows):
        is_estimate = mark is not None and cells[mark].lower() == "true"
        estimated += is_estimate
        text = cells[column.index]
        if text.lower() in NO_VALUE or (is_estimate and drop_estimated):
            continue
        values[i] = number(table.path, line, name, plain[i], low, high)
    if estimated:
        notes.append(
            f"{estimated} of {len(rows)} values estimated" + (", left out" if drop_estimated else "")
        )
    return values


def _stamps(form: Form, table: TextTable, rows: Sequence[Row], filled: Sequence[bool]) -> list[Stamp]:
    """Read the stamps of rows; ``filled``: whether a row has a value."""
    at, _ = stamp_columns(form, table) or ([], "")
    mark = table.index(form.second) if form.second else None
    shown = [*at, *([] if mark is None else [mark])]
    out = []

    for (line, cells), has_value in zip(rows, filled, strict=True):
        where = f"{table.path}: line {line}, " + ", ".join(f"{table.header[i]} = {cells[i]!r}" for i in shown)
        texts = [cells[i] for i in at]
        if form.hour_ending:
            day, hour, interval = (*texts, "")[:3]
            flag = "" if mark is None else cells[mark]
            out.append(numbered_hour(where, day, hour, interval, flag, has_value))
        else:
            out.append(read_stamp(where, " ".join(texts), form.formats, has_value))
    return out


def _utc(form: Form, table: TextTable, rows: list[Row], stamps: list[Stamp]) -> list[int | None]:
    """Return minutes since 1970 UTC of rows that ascend; a second clock in the file must agree."""
    at, clock = stamp_columns(form, table) or ([], "")
    utc = to_utc(stamps, clock, strict=form.hour_ending)
    other = table.index(form.check[0]) if form.check[0] else None
    if other is None:
        return utc

    zone = ZoneInfo(form.check[1])
    for (line, cells), minute in zip(rows, utc, strict=True):
        where = f"{table.path}: line {line}, {table.header[other]} = {cells[other]!r}"
        given = read_stamp(where, cells[other], form.formats, True).moment
        local = (EPOCH + timedelta(minutes=minute or 0)).astimezone(zone)
        if minute is not None and given != local.replace(tzinfo=None):
            raise TraceError(f"{where}: is not the local time of {table.header[at[0]]} {cells[at[0]]}")
    return utc


def _factors(
    form: Form, table: TextTable, rows: list[Row], column: Column, rates: Rates, zone: str | None
) -> float | Float[Floats, " N"]:
    """Return what turns values into our unit: a unit of carbon, or USD for the currency of each row."""
    if form.column != PRICE:
        return form.scale
    named = column.currency or form.currency
    if named == US_ZONES:
        named = "USD" if (zone or "").startswith("US-") else ""

    at = table.index("currency")
    cells = {""} if at is None else {row[at].upper() for _, row in rows}
    if named and not cells <= {"", named}:
        raise TraceError(
            f"{table.path}: the header names {named}, the column of the currency {_listed(cells)}"
        )
    of = {cell: rates.of(named or cell or rates.only()) for cell in cells}
    return of[""] if at is None else np.array([of[row[at].upper()] for _, row in rows])
