"""Hourly load or generation of a power system, told apart by the columns of the file.

balance
    EIA-930 as downloaded (``EIA930_BALANCE_2022_Jan_Jun.csv``): ``Balancing Authority``, ``UTC Time at End of Hour``,
    demand, net generation, and net generation from each fuel, adjusted where the file has that.
fuels
    EIA-930 by fuel: ``WND``, ``SUN`` and others in MW, with ``utc_hour_ending`` or ``timestamp`` (UTC, end of the
    hour), and ``ba`` where a file holds several areas.
plain
    ``utc`` (start of the hour), one or more of ``load_mw``, ``demand_mw``, ``gen_mw``, ``net_mw``, and ``area`` where
    a file holds several.

Series: ``gen`` (all fuels), ``net`` (without wind and sun), ``demand``, ``load``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from gridai_env.arrays.types import Float, Floats, Int, Ints
from gridai_env.traces.errors import TraceError
from gridai_env.traces.files import cells
from gridai_env.traces.local_time import MINUTES_PER_HOUR, stamp, utc_minute

FUELS = ("WND", "SUN", "WAT", "OIL", "NG", "COL", "NUC", "OTH")
PLAIN = ("load_mw", "demand_mw", "gen_mw", "net_mw")
NEEDED = (
    "EIA-930 as downloaded (Balancing Authority, UTC Time at End of Hour, ...), EIA-930 by fuel "
    f"(utc_hour_ending, ba, {', '.join(FUELS)}), or utc and one of {', '.join(PLAIN)}"
)
# Columns of downloads from the year 2024 on split wind and sun by storage.
BALANCE_FUEL = r"Net Generation \(MW\) from {fuel}.*"
BALANCE_STAMP = "%m/%d/%Y %I:%M:%S %p"
LEAST_HOURS, MOST_HOURS = 364 * 24, 366 * 24
MOST_MISSING = 0.05  # of the hours: more than that is no year that was measured
USUAL_MW = (200.0, 3e6)  # means: 200 MW is a small area, all of China has less than 1.5e6
LARGEST = 1e12  # of a cell, in whatever unit
MW_PER_UNIT = {"kW": 1e-3, "MW": 1.0, "GW": 1e3}


@dataclass(frozen=True)
class SystemLoad:
    """A year of one area; NaN where an hour is missing."""

    area: str  # "" where the file does not name it
    start_minutes: Int[Ints, " H"]  # starts of the hours since 1970 UTC, without gaps
    mw: dict[str, Float[Floats, " H"]]


class _Table:
    """The columns of a file, text or Parquet, by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._numbers: dict[str, Floats] = {}
        self._columns: dict[str, Sequence[str]]
        if cells.check_suffix(path):
            self._read_parquet()
        else:
            with cells.text_rows(path) as (self.header, rows):
                numbered = list(rows)
            self.lines = [line for line, _ in numbered]
            texts = list(zip(*(row for _, row in numbered), strict=True))
            self._columns = dict(zip(self.header, texts, strict=False))
        if not self.lines:
            raise TraceError(f"{path}: no rows")
        if twice := sorted({name for name in self.header if name and self.header.count(name) > 1}):
            raise TraceError(f"{path}: columns {', '.join(twice)} appear more than once; keep one of each")

    def _read_parquet(self) -> None:
        pa, pq = cells.parquet_modules(self.path)
        try:
            table = pq.read_table(self.path)
        except pa.ArrowInvalid as error:
            raise TraceError(f"{self.path}: not a Parquet file: {error}") from error
        self.header, self.lines = list(table.column_names), list(range(1, len(table) + 1))
        self._columns = {
            name: ["" if cell is None else str(cell) for cell in table[name].to_pylist()]
            for name in self.header
        }

    def text(self, name: str) -> list[str]:
        return [cell.strip() for cell in self._columns[name]]

    def numbers(self, name: str, thousands: bool) -> Float[Floats, " N"]:
        """Return the numbers of a column; NaN where a cell is empty.  ``thousands``: what its commas are is known."""
        if name not in self._numbers:
            texts = self.text(name)
            filled = [i for i, text in enumerate(texts) if text and text.lower() != "nan"]
            lines = [self.lines[i] for i in filled]
            found = [texts[i].replace(",", "") if thousands else texts[i] for i in filled]
            plain = cells.plain_numbers(self.path, list(zip(lines, found, strict=True)))
            self._numbers[name] = np.full(len(self.lines), np.nan)
            self._numbers[name][filled] = cells.numbers(self.path, lines, name, plain, -LARGEST, LARGEST)
        return self._numbers[name]

    def start_minutes(self, name: str, ends: bool, form: str | None) -> Int[Ints, " N"]:
        """Return the starts of all hours; stamps without an offset are UTC, and ``ends`` says what they mark."""
        seen: dict[str, int] = {}
        texts = self.text(name)
        for line, text in zip(self.lines, texts, strict=True):
            if text not in seen:
                seen[text] = self._minute(line, name, text, form)
        minutes = np.array([seen[text] for text in texts], dtype=np.int64)
        return minutes - MINUTES_PER_HOUR if ends else minutes

    def _minute(self, line: int, name: str, text: str, form: str | None) -> int:
        if form is None:
            moment = cells.date_time(self.path, line, name, text)
        else:
            try:
                moment = datetime.strptime(text, form).replace(tzinfo=UTC)
            except ValueError:
                raise TraceError(
                    f"{self.path}: line {line}, {name} = {text!r}: must be a time such as 01/31/2022 6:00:00 AM"
                ) from None
        minute = utc_minute(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        if minute % MINUTES_PER_HOUR or moment.second or moment.microsecond:
            raise TraceError(
                f"{self.path}: line {line}, {name} = {text!r} is no full hour; average the file to hours first"
            )
        return minute


@dataclass(frozen=True)
class _Form:
    """Where a file has its stamps, areas and series: columns that are added, and those that are subtracted."""

    stamp: str
    ends: bool
    area: str | None
    series: Mapping[str, tuple[Sequence[str], Sequence[str]]]
    stamp_form: str | None = None
    thousands: bool = False  # whether commas of numbers stand after thousands


def read_system_load(
    paths: Sequence[str | Path],
    areas: Sequence[str] = (),
    series: Sequence[str] = (),
    year: int | None = None,
    unit: str | None = None,
) -> list[SystemLoad]:
    """Read a year of hours from one file or from parts of one, by area.

    ``areas`` and ``series``: which (default: all that the files hold); ``year``: of the starts of the hours, UTC, where
    the files hold several; ``unit``: kW, MW or GW (default: MW, and a mean that is none is refused).  Raises
    TraceError naming file, line or column, FileNotFoundError, and ImportError where Parquet cannot be read.
    """
    parts: dict[str, list[tuple[Ints, dict[str, Floats]]]] = {}
    for path in map(Path, paths):
        table = _Table(path)
        form = _form(table)
        minutes, names = table.start_minutes(form.stamp, form.ends, form.stamp_form), _areas(table, form)
        wanted = _chosen(path, "series", series, form.series)
        for area in _chosen(path, "areas", areas, names):
            rows = np.array(names[area])
            mw = {name: _sum(table, form, name, rows) for name in wanted}
            parts.setdefault(area, []).append((minutes[rows], mw))

    where = ", ".join(map(str, paths))
    return [_year(f"{where}: {area}".rstrip(": "), area, found, year, unit) for area, found in parts.items()]


def _form(table: _Table) -> _Form:
    """Recognise the form of a file by its header."""
    header = set(table.header)
    if {"Balancing Authority", "UTC Time at End of Hour"} <= header:
        return _balance(table)
    stamp_of_fuels = next((name for name in ("utc_hour_ending", "timestamp") if name in header), None)
    if stamp_of_fuels and header.intersection(FUELS):
        if missing := [fuel for fuel in ("WND", "SUN") if fuel not in header]:
            raise TraceError(
                f"{table.path}: column {', '.join(missing)} is missing, which load net of wind and sun needs; "
                "where there is none add it with 0"
            )
        fuels = [fuel for fuel in FUELS if fuel in header]
        return _Form(
            stamp_of_fuels, True, "ba" if "ba" in header else None,
            {"gen": (fuels, ()), "net": ([fuel for fuel in fuels if fuel not in ("WND", "SUN")], ())},
        )  # fmt: skip
    if "utc" in header and header.intersection(PLAIN):
        series = {name.removesuffix("_mw"): ((name,), ()) for name in PLAIN if name in header}
        return _Form("utc", False, "area" if "area" in header else None, series)
    raise TraceError(f"{table.path}: found the columns {cells.shown(table.header)}, need {NEEDED}")


def _balance(table: _Table) -> _Form:
    """Return the form of a download: series as adjusted by EIA where it has them."""

    def columns(pattern: str) -> list[str]:
        found = [name for name in table.header if re.fullmatch(pattern, name)]
        raw = [name for name in found if not name.endswith((" (Adjusted)", " (Imputed)"))]
        return [f"{name} (Adjusted)" if f"{name} (Adjusted)" in table.header else name for name in raw]

    demand, total = columns(r"Demand \(MW\)"), columns(r"Net Generation \(MW\)")
    wind_sun = [*columns(BALANCE_FUEL.format(fuel="Wind")), *columns(BALANCE_FUEL.format(fuel="Solar"))]
    series: dict[str, tuple[Sequence[str], Sequence[str]]] = {"demand": (demand, ())} if demand else {}
    if total:
        series["gen"] = (total, ())
    if total and wind_sun:
        series["net"] = (total, wind_sun)
    if not series:
        raise TraceError(f"{table.path}: has neither Demand (MW) nor Net Generation (MW)")
    return _Form(
        "UTC Time at End of Hour", True, "Balancing Authority", series, BALANCE_STAMP, thousands=True
    )


def _areas(table: _Table, form: _Form) -> dict[str, list[int]]:
    """Return the rows of each area."""
    names = table.text(form.area) if form.area else [""] * len(table.lines)
    rows: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        rows.setdefault(name, []).append(i)
    return rows


def _chosen(path: Path, what: str, asked: Sequence[str], there: Iterable[str]) -> list[str]:
    """Return what was asked for, default all; raises TraceError for what is not there."""
    found = list(there)
    if unknown := [name for name in asked if name not in found]:
        shown = ", ".join(filter(None, found)) or "none that is named"
        raise TraceError(f"{path}: {what} {', '.join(unknown)}: not in the file, which has {shown}")
    return list(asked) or found


def _sum(table: _Table, form: _Form, series: str, rows: Ints) -> Float[Floats, " rows"]:
    plus, minus = form.series[series]
    total = np.sum([table.numbers(name, form.thousands)[rows] for name in plus], axis=0, dtype=float)
    for name in minus:
        less = table.numbers(name, form.thousands)[rows]
        # Downloads leave a fuel that an area does not have empty in all hours.
        total = total if np.isnan(less).all() else total - less
    return np.asarray(total)


def _year(
    where: str,
    area: str,
    parts: Sequence[tuple[Ints, dict[str, Floats]]],
    year: int | None,
    unit: str | None,
) -> SystemLoad:
    """Put the hours of an area in order and check that they are a year."""
    if len({tuple(found) for _, found in parts}) > 1:
        raise TraceError(f"{where}: the files hold other series; choose those of all with --series")
    minutes = np.concatenate([found for found, _ in parts])
    mw = {name: np.concatenate([found[name] for _, found in parts]) for name in parts[0][1]}
    years = minutes.astype("datetime64[m]").astype("datetime64[Y]").astype(np.int64) + 1970
    rows = np.argsort(minutes, kind="stable")
    if year is not None:
        rows = rows[years[rows] == year]
        if not len(rows):
            raise TraceError(f"{where}: has no hours of {year}; it holds {years.min()} to {years.max()}")
    minutes = minutes[rows]
    if (repeated := np.flatnonzero(np.diff(minutes) == 0)).size:
        raise TraceError(
            f"{where}: {stamp(minutes[repeated[0]])} stands more than once; keep one row an hour"
        )

    hours = int(minutes[-1] - minutes[0]) // MINUTES_PER_HOUR + 1
    if not LEAST_HOURS <= hours <= MOST_HOURS:
        advice = "choose one with --year" if hours > MOST_HOURS else "add the other parts of the year"
        raise TraceError(
            f"{where}: {hours:,} hours from {stamp(minutes[0])} on are no year ({LEAST_HOURS:,} to {MOST_HOURS:,}); "
            f"{advice}"
        )
    start = minutes[0] + MINUTES_PER_HOUR * np.arange(hours)
    at = (minutes - minutes[0]) // MINUTES_PER_HOUR
    full = {name: np.full(hours, np.nan) for name in mw}
    for name, values in mw.items():
        full[name][at] = values[rows] * MW_PER_UNIT[unit or "MW"]
        _check_values(f"{where} {name}", full[name], unit)
    return SystemLoad(area, start, full)


def _check_values(where: str, mw: Floats, unit: str | None) -> None:
    """Raise TraceError for a series with many gaps, or of another unit."""
    missing = np.isnan(mw).mean()
    if missing > MOST_MISSING:
        raise TraceError(
            f"{where}: {missing:.1%} of the hours are missing, at most {MOST_MISSING:.0%} can be filled; "
            "take another year, area or series"
        )
    mean, (low, high) = float(np.nanmean(mw)), USUAL_MW
    if unit is None and not low <= mean <= high:
        raise TraceError(
            f"{where}: is {mean:,.4g} MW on average, usual are {low:,.0f} to {high:,.0f}; say the unit of the file "
            "with --unit kW, MW or GW"
        )
    if not np.nanmax(mw) > 0.0:
        raise TraceError(f"{where}: no hour is above 0 MW; load and generation are positive")
