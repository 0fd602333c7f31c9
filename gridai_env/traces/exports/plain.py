"""Joining series of one zone and writing them in our plain form, which `read_table` reads."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gridai_env.arrays.types import Float, Floats, Int, Ints
from gridai_env.files import atomic_write
from gridai_env.traces.bounds import POSSIBLE
from gridai_env.traces.errors import TraceError
from gridai_env.traces.exports.series import Export
from gridai_env.traces.files.cells import check_suffix, opened, text_rows
from gridai_env.traces.files.formats import OPTIONAL, REQUIRED
from gridai_env.traces.local_time import MINUTES_PER_HOUR, stamp


@dataclass(frozen=True, eq=False)
class ZoneTable:
    """Columns of one zone, ascending without a missing row; NaN where a source has a gap."""

    zone: str
    utc_minutes: Int[Ints, " N"]
    step_minutes: Int[Ints, " N"]  # length of each row
    columns: dict[str, Float[Floats, " N"]]
    notes: tuple[str, ...] = ()


def join_exports(zone: str, exports: Sequence[Export]) -> ZoneTable:
    """Return the time that all exports span, with the columns of all; what one lacks inside stays a gap.

    Each hour has the finest of the exports' steps; coarser values are held within their interval.  Raises TraceError
    where two bring the same column, price or carbon is missing, or no hour is common.
    """
    source: dict[str, str] = {}
    for export in exports:
        for name in export.columns:
            if name in source:
                raise TraceError(f"{export.source}: brings {name}, as does {source[name]}; give one of them")
            source[name] = export.source
    if missing := [name for name in REQUIRED if name not in source]:
        raise TraceError(
            f"zone {zone!r}: no export brings {', '.join(missing)}; a trace file needs price and carbon"
        )

    # A longer export is cut: outside of the common time a row would have gaps throughout.
    first, end = max(e.span[0] for e in exports), min(e.span[1] for e in exports)
    spans = "; ".join(f"{e.source}: {stamp(e.span[0])} to {stamp(e.utc_minutes[-1])}" for e in exports)
    if end <= first:
        raise TraceError(f"zone {zone!r}: the exports have no hour in common ({spans})")
    utc, step = _axis(exports, first, end)
    values, notes = dict[str, Float[Floats, " N"]](), []
    for export in exports:
        at = np.searchsorted(export.utc_minutes, utc, side="right") - 1
        inside = utc < export.utc_minutes[at] + export.step_minutes[at]
        values |= {name: np.where(inside, column[at], np.nan) for name, column in export.columns.items()}
        if (export.step_minutes[at] > step)[inside].any():
            notes.append(f"values of {export.source} are held within their longer intervals")

    if len({export.span for export in exports}) > 1:
        notes.append(f"cut to the time that all span ({spans})")
    return ZoneTable(zone, utc, step, _ordered(values), tuple(notes))


def _ordered(columns: dict[str, Float[Floats, " N"]]) -> dict[str, Float[Floats, " N"]]:
    return {name: columns[name] for name in (*REQUIRED, *OPTIONAL) if name in columns}


def _axis(exports: Sequence[Export], first: int, end: int) -> tuple[Int[Ints, " N"], Int[Ints, " N"]]:
    """Return starts and lengths of rows from ``first`` to ``end``: in each hour the finest step of the exports."""
    hours = np.arange(first // MINUTES_PER_HOUR, -(-end // MINUTES_PER_HOUR))
    step = np.full(len(hours), MINUTES_PER_HOUR)
    for export in exports:
        # Intervals that begin between the hours, as in India, need rows as short as their shift.
        needed = np.gcd(export.step_minutes, export.utc_minutes % MINUTES_PER_HOUR)
        # An hour that an export lacks has the step of the hour before.
        before = np.searchsorted(export.utc_minutes, (hours + 1) * MINUTES_PER_HOUR) - 1
        step = np.minimum(step, needed[np.maximum(before, 0)])

    lengths = np.repeat(step, MINUTES_PER_HOUR // step)
    utc = hours[0] * MINUTES_PER_HOUR + np.cumsum(lengths) - lengths
    inside = (utc >= first) & (utc < end)
    return utc[inside], lengths[inside]


def with_marginal(table: ZoneTable, carbon_marginal_kg_per_mwh: float) -> ZoneTable:
    """Return the zone with a constant marginal intensity."""
    value = carbon_marginal_kg_per_mwh
    low, high = POSSIBLE["carbon_marginal_kg_per_mwh"]
    if not low <= value <= high:
        raise TraceError(f"marginal carbon = {value!r}: must be from {low:g} to {high:g} kg/MWh")
    columns = table.columns | {"carbon_marginal_kg_per_mwh": np.full(len(table.utc_minutes), value)}
    return replace(table, columns=_ordered(columns))


def write_plain(path: str | Path, table: ZoneTable, add: bool = False) -> None:
    """Write a zone to a .csv or .csv.gz, atomically; ``add`` keeps the other zones of an existing file.

    Raises TraceError where the file has another suffix, exists without ``add``, or has other columns or the zone.
    """
    path = Path(path)
    check_suffix(path, (".csv", ".csv.gz"))

    header = ["utc", "zone", *table.columns]
    kept: list[list[str]] = []
    if path.exists():
        if not add:
            raise TraceError(
                f"{path}: exists; choose another name, or add the zone to it with add=True (--add)"
            )
        kept = _other_zones(path, header, table.zone)

    # The other zones' rows are copied as text: their digits stay as they are.
    with atomic_write(path) as partial, opened(partial, "wt", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(kept)
        writer.writerows(_rows(table))


def _other_zones(path: Path, header: list[str], zone: str) -> list[list[str]]:
    with text_rows(path) as (found, rows):
        if found != header:
            raise TraceError(
                f"{path}: has the columns {found}, the new zone has {header}; they must be the same"
            )
        kept = [row for _, row in rows]
    if any(row[1] == zone for row in kept):
        raise TraceError(f"{path}: has rows of zone {zone!r} already; write to another file")
    return kept


def _rows(table: ZoneTable) -> Iterator[list[str]]:
    """Yield the rows; numbers in full precision, a gap as an empty cell."""
    for i, minute in enumerate(table.utc_minutes):
        cells = ("" if np.isnan(v[i]) else repr(float(v[i])) for v in table.columns.values())
        yield [stamp(minute), table.zone, *cells]
