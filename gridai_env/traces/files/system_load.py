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

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gridai_env.arrays.types import Float, Floats, Int, Ints
from gridai_env.traces.errors import TraceError
from gridai_env.traces.files.system_tables import SystemTable
from gridai_env.traces.local_time import MINUTES_PER_HOUR, stamp

LEAST_HOURS, MOST_HOURS = 364 * 24, 366 * 24
USUAL_MW = (200.0, 3e6)  # means: 200 MW is a small area, all of China has less than 1.5e6
_Part = tuple[Ints, dict[str, Floats]]  # starts of hours in minutes, and series, in file order
MW_PER_UNIT = {"kW": 1e-3, "MW": 1.0, "GW": 1e3}


@dataclass(frozen=True)
class SystemLoad:
    """A year of one area; NaN where an hour is missing."""

    source: str  # files and area, as errors name them
    area: str  # "" where the file does not name it
    start_minutes: Int[Ints, " H"]  # starts of the hours since 1970 UTC, without gaps
    mw: dict[str, Float[Floats, " H"]]
    generation_mw: Float[Floats, " H"] | None  # where it was read

    def judged_by(self, series: str) -> Float[Floats, " H"]:
        """Return the series that shows whether an hour was metered well: for ``net`` all generation."""
        if series == "net" and self.generation_mw is not None:
            return self.generation_mw
        return self.mw[series]


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
    parts: dict[str, list[_Part]] = {}
    for path in map(Path, paths):
        table = SystemTable(path)
        minutes, rows_of, there = table.start_minutes(), table.rows_of_areas(), table.form.series
        wanted = _chosen(path, "series", series, there)
        read = [*wanted, *(["gen"] if "net" in wanted and "gen" in there and "gen" not in wanted else [])]
        for area in _chosen(path, "areas", areas, rows_of):
            rows = np.array(rows_of[area])
            found = {name: table.series(name, rows) for name in read}
            parts.setdefault(area, []).append((minutes[rows], found))

    out = []
    for area, found_parts in parts.items():
        where = f"{', '.join(map(str, paths))}: {area}".rstrip(": ")
        start, mw = _in_order(where, found_parts, year, unit)
        asked = {name: mw[name] for name in mw if not series or name in series}
        for name, values in asked.items():
            _check_values(f"{where} {name}", values, unit)
        out.append(SystemLoad(where, area, start, asked, mw.get("gen")))
    return out


def _chosen(path: Path, what: str, asked: Sequence[str], there: Iterable[str]) -> list[str]:
    """Return what was asked for, default all; raises TraceError for what is not there."""
    found = list(there)
    if unknown := [name for name in asked if name not in found]:
        shown = ", ".join(filter(None, found)) or "none that is named"
        raise TraceError(f"{path}: {what} {', '.join(unknown)}: not in the file, which has {shown}")
    return list(asked) or found


def _in_order(
    where: str, parts: Sequence[_Part], year: int | None, unit: str | None
) -> tuple[Ints, dict[str, Floats]]:
    """Return the starts of the hours of a year and its series; NaN where a row is missing."""
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
    return start, full


def _check_values(where: str, mw: Floats, unit: str | None) -> None:
    """Raise TraceError for a series without values, or of another unit."""
    if np.isnan(mw).all():
        raise TraceError(f"{where}: is empty; choose other areas or series with --areas, --series")
    mean, (low, high) = float(np.nanmean(mw)), USUAL_MW
    if unit is None and not low <= mean <= high:
        raise TraceError(
            f"{where}: is {mean:,.4g} MW on average, usual are {low:,.0f} to {high:,.0f}; say the unit of the file "
            "with --unit kW, MW or GW"
        )
    if not np.nanmax(mw) > 0.0:
        raise TraceError(f"{where}: no hour is above 0 MW; load and generation are positive")
