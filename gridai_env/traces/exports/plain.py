"""Joining series of one zone and writing them in our plain form, which `read_table` reads."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gridai_env.arrays.types import Bool, Bools, Float, Floats, Int, Ints
from gridai_env.files import atomic_write
from gridai_env.traces.bounds import POSSIBLE
from gridai_env.traces.errors import TraceError
from gridai_env.traces.exports.series import Export
from gridai_env.traces.files.cells import check_suffix, is_gzip, text_rows
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

    @property
    def gaps(self) -> int:
        """Rows in which at least one column has no value."""
        return int(np.isnan(np.stack(list(self.columns.values()))).any(0).sum())


def join_exports(zone: str, exports: Sequence[Export]) -> ZoneTable:
    """Return the time that all exports span, with the columns of all; what one lacks inside stays a gap.

    Each hour has the finest of the exports' steps; coarser values are held within their interval.  Raises TraceError
    where two bring the same column, price or carbon is missing, or no hour is common.
    """
    columns: dict[str, Export] = {}
    for export in exports:
        for name in export.columns:
            if name in columns:
                raise TraceError(
                    f"{export.source}: brings {name}, as does {columns[name].source}; give one of them"
                )
            columns[name] = export
    if missing := [name for name in REQUIRED if name not in columns]:
        raise TraceError(
            f"zone {zone!r}: no export brings {', '.join(missing)}; a trace file needs price and carbon"
        )

    # A longer export is cut: outside of the common time a row would have gaps throughout.
    first = max(int(export.utc_minutes[0]) for export in exports)
    end = min(int(export.utc_minutes[-1] + export.lengths[-1]) for export in exports)
    spans = [f"{e.source}: {stamp(e.utc_minutes[0])} to {stamp(e.utc_minutes[-1])}" for e in exports]
    if end <= first:
        raise TraceError(f"zone {zone!r}: the exports have no hour in common ({'; '.join(spans)})")

    utc, step = _axis(exports, first, end)
    ordered = [name for name in (*REQUIRED, *OPTIONAL) if name in columns]
    held = [export.source for export in exports if _is_held(export, utc, step)]
    notes = [f"values of {source} are held within their longer intervals" for source in held]
    notes += (
        [f"cut to the time that all span ({'; '.join(spans)})"] if len(set(map(_span, exports))) > 1 else []
    )
    values = {name: _on_axis(columns[name], name, utc) for name in ordered}
    return ZoneTable(zone, utc, step, values, tuple(notes))


def _span(export: Export) -> tuple[int, int]:
    return int(export.utc_minutes[0]), int(export.utc_minutes[-1] + export.lengths[-1])


def _axis(exports: Sequence[Export], first: int, end: int) -> tuple[Int[Ints, " N"], Int[Ints, " N"]]:
    """Return starts and lengths of rows from ``first`` to ``end``: in each hour the finest step of the exports."""
    hours = np.arange(first // MINUTES_PER_HOUR, -(-end // MINUTES_PER_HOUR))
    step = np.full(len(hours), MINUTES_PER_HOUR)
    for export in exports:
        # Intervals that begin between the hours, as in India, need rows as short as their shift.
        needed = np.gcd(export.lengths, export.utc_minutes % MINUTES_PER_HOUR)
        # An hour that an export lacks has the step of the hour before.
        before = np.searchsorted(export.utc_minutes, (hours + 1) * MINUTES_PER_HOUR) - 1
        step = np.minimum(step, needed[np.maximum(before, 0)])

    rows = MINUTES_PER_HOUR // step
    within = np.arange(rows.sum()) - np.repeat(np.cumsum(rows) - rows, rows)
    lengths = np.repeat(step, rows)
    utc = np.repeat(hours * MINUTES_PER_HOUR, rows) + within * lengths
    inside = (utc >= first) & (utc < end)
    return utc[inside], lengths[inside]


def _interval_of(export: Export, utc: Int[Ints, " N"]) -> tuple[Int[Ints, " N"], Bool[Bools, " N"]]:
    """Return the interval of an export at each moment, and whether there is one."""
    at = np.searchsorted(export.utc_minutes, utc, side="right") - 1
    return at, (at >= 0) & (utc < export.utc_minutes[at] + export.lengths[at])


def _is_held(export: Export, utc: Int[Ints, " N"], step: Int[Ints, " N"]) -> bool:
    at, inside = _interval_of(export, utc)
    return bool((export.lengths[at] > step)[inside].any())


def _on_axis(export: Export, name: str, utc: Int[Ints, " N"]) -> Float[Floats, " N"]:
    """Return a column on the rows ``utc``; NaN where the export has none."""
    at, inside = _interval_of(export, utc)
    return np.where(inside, export.columns[name][at], np.nan)


def with_marginal(table: ZoneTable, carbon_marginal_kg_per_mwh: float) -> ZoneTable:
    """Return the zone with a constant marginal intensity."""
    value = carbon_marginal_kg_per_mwh
    low, high = POSSIBLE["carbon_marginal_kg_per_mwh"]
    if not low <= value <= high:
        raise TraceError(f"marginal carbon = {value!r}: must be from {low:g} to {high:g} kg/MWh")
    columns = {**table.columns, "carbon_marginal_kg_per_mwh": np.full(len(table.utc_minutes), value)}
    return replace(table, columns={n: columns[n] for n in (*REQUIRED, *OPTIONAL) if n in columns})


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
    opener: Callable[..., Any] = gzip.open if is_gzip(path) else open
    with atomic_write(path) as partial, opener(partial, "wt", newline="", encoding="utf-8") as file:
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
