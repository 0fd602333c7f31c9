"""Reading of trace files into columns: which formats there are, and what in a file is refused at once.

See `gridai_env.traces.files.zones` for the description of the formats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gridai_env.arrays.types import Float, Floats, Int, Ints
from gridai_env.traces.errors import TraceError
from gridai_env.traces.files.cells import check_suffix, date_time, parquet_modules, text_rows
from gridai_env.traces.local_time import EPOCH

REQUIRED = ("price_usd_per_mwh", "carbon_average_kg_per_mwh")
OPTIONAL = ("carbon_marginal_kg_per_mwh", "wetbulb_c", "pv_cf", "wind_cf")
SELL = "sell_usd_per_mwh"  # optional, too, but no property of the zone that a calibration knows or an export brings
ALL = (*REQUIRED, *OPTIONAL, SELL)
CALL, NOTICE = "call_", "notice_h_"  # before the name of a site: columns of its calls
# What stamps may mark, with whether that is the end of a row's interval; it need not be an hour long.
STAMPS = {"hour_start": False, "hour_end": True, "interval_start": False, "interval_end": True}
REGIONAL = ("requests_per_s", "gpus")  # rates, one of them in a file of demand
PANEL = {
    "price_usd_per_mwh": "price_usd",
    "wetbulb_c": "wetbulb_c",
    "pv_cf": "pv_cf_proxy",
    "wind_cf": "wind_cf_proxy",
}


class Layout(NamedTuple):
    """What the header of a file says."""

    columns: dict[str, str]  # our name -> that of the file
    keys: tuple[str, ...]  # utc, zone or region, and stamp where there is one
    place: str  # what a row belongs to: "zone" or "region"
    format_name: str
    carbon_kind: str  # which average carbon was taken
    unused: tuple[str, ...]  # columns that are not read; those of calls may be

    @property
    def of_sites(self) -> tuple[str, ...]:
        """Columns of calls, in small letters."""
        return tuple(name for name in self.columns if is_of_site(name))


@dataclass(frozen=True)
class RawTable:
    """Rows of a file, in file order."""

    layout: Layout
    zones: tuple[str, ...]
    zone_index: Int[Ints, " N"]  # into zones
    stamp_minutes: Int[Ints, " N"]  # since 1970
    stamps_end: bool  # whether they mark the ends of the intervals, and not their starts
    columns: dict[str, Float[Floats, " N"]]  # our names; NaN where a cell is empty


def is_of_site(name: str) -> bool:
    """Return whether a column, in small letters, holds calls of a site."""
    return name.startswith((CALL, NOTICE))


def load(path: Path, regional: bool = False) -> RawTable:
    """Read a `.parquet`, `.csv` or `.csv.gz` file; raises TraceError naming the file and what to change.

    ``regional``: it holds the demand of regions (text alone), not prices of zones.
    """
    try:
        if regional:
            return _load_csv(path, _layout_of_demand)
        return _load_parquet(path) if check_suffix(path) else _load_csv(path, _layout)
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error}") from error


def _names(path: Path, header: list[str]) -> dict[str, str]:
    """Return the names of a header as they stand in it; capitals and blanks around a name do not matter."""
    names = [name.strip().lower() for name in header]
    # Columns without a name, as spreadsheets leave them, may repeat; of others the last would silently be used.
    if repeated := sorted({name for name in names if name and names.count(name) > 1}):
        raise TraceError(f"{path}: columns {repeated} appear more than once in the header; keep one of each")

    return dict(zip(names, header, strict=True))


def _layout_of_demand(path: Path, header: list[str]) -> Layout:
    """Return where the demand of regions stands."""
    found = _names(path, header)
    value = [name for name in REGIONAL if name in found]
    if len(value) != 1 or not {"utc", "region"} <= found.keys():
        raise TraceError(f"{path}: need utc, region and one of {', '.join(REGIONAL)} (found: {header})")
    return _laid_out(found, {value[0]: found[value[0]]}, "region", "regions", "")


def _laid_out(found: dict[str, str], columns: dict[str, str], place: str, form: str, kind: str) -> Layout:
    keys = tuple(found[name] for name in ("utc", place, "stamp") if name in found)
    used = {*keys, *columns.values()}
    unused = tuple(name.strip() for name in found.values() if name.strip() and name not in used)
    return Layout(columns, keys, place, form, kind, unused)


def _layout(path: Path, header: list[str]) -> Layout:
    """Recognise the format by its header."""
    found = _names(path, header)
    if {"zone", "utc", "price_usd"} <= found.keys() and found.keys() & {"ci_direct", "ci_lca"}:
        carbon = "ci_direct" if "ci_direct" in found else "ci_lca"
        kind = "direct" if carbon == "ci_direct" else "life-cycle (no direct column)"
        own, form = {"carbon_average_kg_per_mwh": carbon, **PANEL}, "panel"
    else:
        own, form, kind = {name: name for name in ALL}, "plain", "as given in the file"
    missing = [name for name in ("utc", "zone", *(own[name] for name in REQUIRED)) if name not in found]
    if missing:
        raise TraceError(
            f"{path}: columns {missing} are missing (found: {header}). Need the plain form utc, zone, "
            f"{', '.join(REQUIRED)} or the panel form utc, zone, price_usd, ci_direct or ci_lca; "
            "scripts.convert makes it of exports and of other currencies"
        )
    own |= {name: name for name in found if is_of_site(name)}
    columns = {name: found[theirs] for name, theirs in own.items() if theirs in found}
    return _laid_out(found, columns, "zone", form, kind)


def _marks_end(path: Path, in_file: set[Any]) -> bool:
    """Return whether stamps mark the ends of intervals; without a column `stamp` (nothing in it) they do not."""
    named = sorted(str(value).strip() for value in in_file)
    if len(set(named)) > 1 or (named and named[0] not in STAMPS):
        raise TraceError(
            f"{path}: column stamp holds {named[:5]}; use one of {', '.join(STAMPS)} in the whole file"
        )
    return bool(named) and STAMPS[named[0]]


# Text -------------------------------------------------------------------------------------------------------


def _load_csv(path: Path, layout_of: Callable[[Path, list[str]], Layout]) -> RawTable:
    with text_rows(path) as (header, rows):
        layout = layout_of(path, header)
        numbered = list(rows)
    if not numbered:
        raise TraceError(f"{path}: no rows below the header")
    lines, cells = zip(*numbered, strict=True)
    column = dict(zip(header, zip(*cells, strict=True), strict=True))

    # Stamps and zones repeat from row to row: each is read once.
    utc, zone, *stamps = (column[name] for name in layout.keys)
    minutes: dict[str, int] = {}
    for line, text in zip(lines, utc, strict=True):
        if text not in minutes:
            minutes[text] = _parse_stamp(path, line, text)
    index: dict[str, int] = {}
    zone_index = [index.setdefault(text.strip(), len(index)) for text in zone]
    return RawTable(
        layout=layout,
        zones=tuple(index),
        zone_index=np.array(zone_index, dtype=np.int64),
        stamp_minutes=np.array([minutes[text] for text in utc], dtype=np.int64),
        stamps_end=_marks_end(path, set(*stamps)),
        columns={
            own: _parse_numbers(path, lines, name, column[name]) for own, name in layout.columns.items()
        },
    )


def _parse_stamp(path: Path, line: int, text: str) -> int:
    """Return minutes since 1970 UTC."""
    moment = date_time(path, line, "utc", text)
    if moment.tzinfo is None:
        raise TraceError(f"{path}: line {line}, utc = {text!r} has no offset; write Z or +hh:mm")
    seconds = (moment - EPOCH).total_seconds()
    if seconds % 60:
        raise TraceError(f"{path}: line {line}, utc = {text!r} is not on a whole minute")
    return int(seconds) // 60


def _parse_numbers(path: Path, lines: Sequence[int], name: str, texts: Sequence[str]) -> Float[Floats, " N"]:
    """Return numbers of a CSV column; an empty cell is NaN, and is refused only where the hour is used."""
    values = []
    for line, text in zip(lines, texts, strict=True):
        try:
            values.append(float(text) if text.strip() else np.nan)
        except ValueError:
            raise TraceError(
                f"{path}: line {line}, {name} = {text!r}: write numbers with a decimal point, leave gaps empty"
            ) from None
    return np.array(values)


# Parquet ----------------------------------------------------------------------------------------------------


def _load_parquet(path: Path) -> RawTable:
    pa, pq = parquet_modules(path)
    try:
        found = pq.read_schema(path).names
    except pa.ArrowInvalid as error:
        raise TraceError(f"{path}: not a Parquet file: {error}") from error
    layout = _layout(path, found)
    table = pq.read_table(path, columns=[*layout.keys, *layout.columns.values()])
    utc, zone, *stamps = (table[name] for name in layout.keys)
    _check_keys(path, pa, utc, zone)
    names = zone.combine_chunks()
    # Zones may be stored as text or as a dictionary of texts; the latter is what we need.
    names = names if pa.types.is_dictionary(names.type) else names.dictionary_encode()

    return RawTable(
        layout=layout,
        zones=tuple(names.dictionary.to_pylist()),
        zone_index=names.indices.to_numpy(zero_copy_only=False).astype(np.int64),
        stamp_minutes=_whole_minutes(path, utc.to_numpy()),
        stamps_end=_marks_end(path, {value for found in stamps for value in found.unique().to_pylist()}),
        columns={own: table[name].to_numpy().astype(np.float64) for own, name in layout.columns.items()},
    )


def _check_keys(path: Path, pa: Any, utc: Any, zone: Any) -> None:
    """Raise TraceError where a table is empty, or zone or time of a row are not known."""
    if not len(utc):
        raise TraceError(f"{path}: no rows")
    kind = utc.type
    if not pa.types.is_timestamp(kind) or kind.tz is None:
        raise TraceError(f"{path}: column utc is {kind}; need a timestamp with time zone (UTC)")
    if utc.null_count or zone.null_count:
        raise TraceError(f"{path}: columns utc and zone must have no empty cells; remove those rows")


def _whole_minutes(path: Path, utc: np.ndarray) -> Int[Ints, " N"]:
    minutes = utc.astype("datetime64[m]")
    if (off := minutes != utc).any():
        raise TraceError(f"{path}: utc = {utc[off][0]}Z is not on a whole minute")
    return minutes.astype(np.int64)
