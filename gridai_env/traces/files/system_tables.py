"""The columns of files of hourly load: which forms there are, and their stamps and numbers.

See `gridai_env.traces.files.system_load` for the description of the forms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from gridai_env.arrays.types import Float, Floats, Int, Ints
from gridai_env.traces.errors import TraceError
from gridai_env.traces.files import cells
from gridai_env.traces.local_time import MINUTES_PER_HOUR, utc_minute

FUELS = ("WND", "SUN", "WAT", "OIL", "NG", "COL", "NUC", "OTH")
WIND_SUN = FUELS[:2]
PLAIN = ("load_mw", "demand_mw", "gen_mw", "net_mw")
NEEDED = (
    "EIA-930 as downloaded (Balancing Authority, UTC Time at End of Hour, ...), EIA-930 by fuel "
    f"(utc_hour_ending, ba, {', '.join(FUELS)}), or utc and one of {', '.join(PLAIN)}"
)
BALANCE_AREA, BALANCE_STAMP = "Balancing Authority", "UTC Time at End of Hour"
# Files from the middle of 2024 on split wind and sun by storage beside them.
BALANCE_WIND_SUN = r"Net Generation \(MW\) from (Wind|Solar)\b.*"
LARGEST = 1e12  # of a cell, in whatever unit


@dataclass(frozen=True)
class Form:
    """Where a file has its stamps, areas and series: columns that are added, and those that are subtracted."""

    stamp: str
    ends: bool  # whether stamps mark the ends of the hours
    area: str | None
    series: Mapping[str, tuple[Sequence[str], Sequence[str]]]
    stamp_form: str | None = None  # of `strptime`; None: ISO 8601
    thousands: bool = False  # whether commas of numbers stand after thousands

    @property
    def columns(self) -> list[str]:
        """All columns that are read."""
        summed = [name for plus, minus in self.series.values() for name in (*plus, *minus)]
        return list(dict.fromkeys([self.stamp, *([self.area] if self.area else []), *summed]))


def form_of(path: Path, header: Sequence[str]) -> Form:
    """Recognise the form of a file by its header; raises TraceError for another one."""
    if twice := sorted({name for name in header if name and list(header).count(name) > 1}):
        raise TraceError(f"{path}: columns {', '.join(twice)} appear more than once; keep one of each")
    found = set(header)
    if {BALANCE_AREA, BALANCE_STAMP} <= found:
        return _balance(path, header)

    stamp = next((name for name in ("utc_hour_ending", "timestamp") if name in found), None)
    if stamp and found.intersection(FUELS):
        if missing := [fuel for fuel in WIND_SUN if fuel not in found]:
            raise TraceError(
                f"{path}: column {', '.join(missing)} is missing, which load net of wind and sun needs; where there is "
                "none add it with 0"
            )
        fuels = [fuel for fuel in FUELS if fuel in found]
        others = [fuel for fuel in fuels if fuel not in WIND_SUN]
        return Form(stamp, True, _if_there("ba", found), {"gen": (fuels, ()), "net": (others, ())})
    if "utc" in found and found.intersection(PLAIN):
        series = {name.removesuffix("_mw"): ((name,), ()) for name in PLAIN if name in found}
        return Form("utc", False, _if_there("area", found), series)
    raise TraceError(f"{path}: found the columns {cells.shown(list(header))}, need {NEEDED}")


def _if_there(name: str, found: set[str]) -> str | None:
    return name if name in found else None


def _balance(path: Path, header: Sequence[str]) -> Form:
    """Return the form of a download: series as adjusted by EIA where it has them."""

    def columns(pattern: str) -> list[str]:
        found = [name for name in header if re.fullmatch(pattern, name)]
        raw = [name for name in found if not name.endswith((" (Adjusted)", " (Imputed)"))]
        return [f"{name} (Adjusted)" if f"{name} (Adjusted)" in header else name for name in raw]

    demand, total = columns(r"Demand \(MW\)"), columns(r"Net Generation \(MW\)")
    wind_sun = columns(BALANCE_WIND_SUN)
    all_series = {"demand": (demand, ()), "gen": (total, ()), "net": (total if wind_sun else [], wind_sun)}
    series = {name: both for name, both in all_series.items() if both[0]}
    if not series:
        raise TraceError(f"{path}: has neither Demand (MW) nor Net Generation (MW)")
    return Form(BALANCE_STAMP, True, BALANCE_AREA, series, "%m/%d/%Y %I:%M:%S %p", thousands=True)


class SystemTable:
    """The columns of a file, text or Parquet, as far as its form needs them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text: dict[str, list[str]] = {}
        self._numbers: dict[str, Floats] = {}
        self.form, self.lines = self._read_parquet() if cells.check_suffix(path) else self._read_text()
        if not self.lines:
            raise TraceError(f"{path}: no rows")

    def _read_text(self) -> tuple[Form, list[int]]:
        lines: list[int] = []
        with cells.text_rows(self.path) as (header, rows):
            form = form_of(self.path, header)
            # A download has fifty columns and hundreds of thousands of rows: what is not needed is not kept.
            columns = [(header.index(name), self._text.setdefault(name, [])) for name in form.columns]
            for line, row in rows:
                lines.append(line)
                for i, column in columns:
                    column.append(row[i].strip())
        return form, lines

    def _read_parquet(self) -> tuple[Form, list[int]]:
        pa, pq = cells.parquet_modules(self.path)
        try:
            form = form_of(self.path, pq.read_schema(self.path).names)
            table = pq.read_table(self.path, columns=form.columns)
        except pa.ArrowInvalid as error:
            raise TraceError(f"{self.path}: not a Parquet file: {error}") from error
        for name in form.columns:
            self._text[name] = ["" if cell is None else str(cell) for cell in table[name].to_pylist()]
        return form, list(range(1, len(table) + 1))

    def rows_of_areas(self) -> dict[str, list[int]]:
        """Return the rows of each area; one without a name where the file has no column of areas."""
        if self.form.area is None:
            return {"": list(range(len(self.lines)))}
        rows: dict[str, list[int]] = {}
        for i, name in enumerate(self._text[self.form.area]):
            rows.setdefault(name, []).append(i)
        return rows

    def series(self, name: str, rows: Ints) -> Float[Floats, " rows"]:
        """Return a series in some rows; NaN where a cell that it needs is empty."""
        plus, minus = self.form.series[name]
        total = np.sum([self.numbers(column)[rows] for column in plus], axis=0, dtype=float)
        for column in minus:
            less = self.numbers(column)[rows]
            # Downloads leave a fuel that an area does not have empty in all hours.
            total = total if np.isnan(less).all() else total - less
        return np.asarray(total)

    def numbers(self, name: str) -> Float[Floats, " N"]:
        """Return the numbers of a column; NaN where a cell is empty."""
        if name not in self._numbers:
            texts = self._text[name]
            filled = [i for i, text in enumerate(texts) if text and text.lower() != "nan"]
            lines = [self.lines[i] for i in filled]
            found = [texts[i].replace(",", "") if self.form.thousands else texts[i] for i in filled]
            plain = cells.plain_numbers(self.path, list(zip(lines, found, strict=True)))
            self._numbers[name] = np.full(len(texts), np.nan)
            self._numbers[name][filled] = cells.numbers(self.path, lines, name, plain, -LARGEST, LARGEST)
        return self._numbers[name]

    def start_minutes(self) -> Int[Ints, " N"]:
        """Return the starts of all hours since 1970 UTC; stamps without an offset are UTC."""
        seen: dict[str, int] = {}
        texts = self._text[self.form.stamp]
        for line, text in zip(self.lines, texts, strict=True):
            if text not in seen:
                seen[text] = self._minute(line, text)
        minutes = np.array([seen[text] for text in texts], dtype=np.int64)
        return minutes - MINUTES_PER_HOUR if self.form.ends else minutes

    def _minute(self, line: int, text: str) -> int:
        name = self.form.stamp
        if self.form.stamp_form is None:
            moment = cells.date_time(self.path, line, name, text)
        else:
            try:
                moment = datetime.strptime(text, self.form.stamp_form).replace(tzinfo=UTC)
            except ValueError:
                raise TraceError(
                    f"{self.path}: line {line}, {name} = {text!r}: must be a time such as 01/31/2022 6:00:00 AM"
                ) from None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        minute = utc_minute(moment)
        if minute % MINUTES_PER_HOUR or moment.second or moment.microsecond:
            raise TraceError(
                f"{self.path}: line {line}, {name} = {text!r} is no full hour; average the file to hours first"
            )
        return minute
