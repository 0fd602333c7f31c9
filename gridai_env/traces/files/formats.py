"""Reading of trace files into columns: which formats there are, and what in a file is refused at once.

See `gridai_env.traces.files.zones` for the description of the formats.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from gridai_env.traces.errors import TraceError
from gridai_env.traces.files.cells import gzip_advice

REQUIRED = ("price_usd_per_mwh", "carbon_average_kg_per_mwh")
OPTIONAL = ("carbon_marginal_kg_per_mwh", "wetbulb_c", "pv_cf", "wind_cf")
STAMPS = ("hour_start", "hour_end")
PANEL = {
    "price_usd_per_mwh": "price_usd",
    "wetbulb_c": "wetbulb_c",
    "pv_cf": "pv_cf_proxy",
    "wind_cf": "wind_cf_proxy",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class RawTable:
    """Rows of a file in file order: `zone_index` [N] into `zones`, stamp as minutes since 1970 UTC [N],
    columns [N].

    `zone_index` is -1 and the stamp `NO_STAMP` where the cell cannot be read. `carbon_kind` says which
    average carbon was taken.
    """

    zones: tuple[str, ...]
    zone_index: np.ndarray
    utc_minutes: np.ndarray
    columns: dict[str, np.ndarray]
    format_name: str
    carbon_kind: str


def load(path: Path) -> RawTable:
    """Read a `.parquet`, `.csv` or `.csv.gz` file; raises TraceError naming the file and what to change."""
    reader = _load_parquet if path.name.endswith(".parquet") else _load_csv
    if path.name.endswith((".parquet", ".csv", ".csv.gz")):
        try:
            return reader(path)
        except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
            advice = gzip_advice(path) if isinstance(error, UnicodeDecodeError) else None
            raise TraceError(f"{path}: cannot be read: {advice or error}") from error
    raise TraceError(f"{path}: unknown suffix {path.suffix!r}; use .parquet, .csv or .csv.gz")


def _mapping(path: Path, header: list[str]) -> tuple[dict[str, str], str, str]:
    """Own name -> column of the file, format name and kind of average carbon."""
    have = set(header)
    repeated = sorted(name for name in have if name and header.count(name) > 1)
    if repeated:
        raise TraceError(f"{path}: columns {repeated} appear more than once in the header; keep one of each")
    if {"zone", "utc", "price_usd"} <= have and have & {"ci_direct", "ci_lca"}:
        carbon = "ci_direct" if "ci_direct" in have else "ci_lca"
        found = {"carbon_average_kg_per_mwh": carbon} | {
            own: name for own, name in PANEL.items() if name in have
        }
        return found, "panel", "direct" if carbon == "ci_direct" else "life-cycle (no direct column)"
    missing = [name for name in ("utc", "zone", *REQUIRED) if name not in have]
    if missing:
        raise TraceError(
            f"{path}: columns {missing} are missing (found: {header}). Need the plain form utc, zone, "
            f"{', '.join(REQUIRED)} or the panel form utc, zone, price_usd, ci_direct or ci_lca"
        )
    return {name: name for name in (*REQUIRED, *OPTIONAL) if name in have}, "plain", "as given in the file"


def _shift_minutes(path: Path, in_file: set[Any]) -> int:
    """Minutes to add so that stamps mark the start of the hour, which they do where there is no `stamp`."""
    named = sorted(str(value) for value in in_file)
    if len(named) > 1 or (named and named[0] not in STAMPS):
        raise TraceError(
            f"{path}: column stamp holds {named[:5]}; use one of {', '.join(STAMPS)} in the whole file"
        )
    return -60 if named == ["hour_end"] else 0


def _load_csv(path: Path) -> RawTable:
    opener: Callable[..., Any] = gzip.open if path.name.endswith(".gz") else open
    with opener(path, "rt", newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        mapping, format_name, carbon_kind = _mapping(path, header)
        cells = list(zip(*_checked_width(path, rows, len(header)), strict=True))
    if not cells:
        raise TraceError(f"{path}: no rows below the header")
    column = dict(zip(header, cells, strict=True))
    shift = _shift_minutes(path, set(column.get("stamp", ())))
    minutes = {text: _parse_stamp(path, i, text) for i, text in _first_seen(column["utc"])}
    zones = tuple(dict.fromkeys(column["zone"]))
    index = {zone: i for i, zone in enumerate(zones)}
    return RawTable(
        zones=zones,
        zone_index=np.array([index[zone] for zone in column["zone"]], dtype=np.int64),
        utc_minutes=np.array([minutes[text] for text in column["utc"]], dtype=np.int64) + shift,
        columns={own: _parse_numbers(path, name, column[name]) for own, name in mapping.items()},
        format_name=format_name,
        carbon_kind=carbon_kind,
    )


def _checked_width(path: Path, rows: Iterator[list[str]], width: int) -> Iterator[list[str]]:
    for line, row in enumerate(rows, start=2):
        if row and len(row) != width:
            raise TraceError(f"{path}: line {line} has {len(row)} cells, the header has {width}")
        if row:
            yield row


def _first_seen(texts: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    seen: set[str] = set()
    for i, text in enumerate(texts, start=2):
        if text not in seen:
            seen.add(text)
            yield i, text


def _parse_stamp(path: Path, line: int, text: str) -> int:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise TraceError(
            f"{path}: line {line}, utc = {text!r} is no ISO 8601 stamp (2023-07-03T00:00Z)"
        ) from None
    if moment.tzinfo is None:
        raise TraceError(f"{path}: line {line}, utc = {text!r} has no offset; write Z or +hh:mm")
    seconds = (moment - _EPOCH).total_seconds()
    if seconds % 60:
        raise TraceError(f"{path}: line {line}, utc = {text!r} is not on a whole minute")
    return int(seconds) // 60


def _parse_numbers(path: Path, name: str, texts: tuple[str, ...]) -> np.ndarray:
    """Numbers of a CSV column; an empty cell is NaN, and is refused only where the hour is used."""
    try:
        return np.array([float(text) if text.strip() else np.nan for text in texts])
    except ValueError as error:
        raise TraceError(
            f"{path}: column {name}: {error}; write numbers with a decimal point, leave gaps empty"
        ) from None


def _load_parquet(path: Path) -> RawTable:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError(f"{path}: reading Parquet needs pyarrow: pip install 'gridai-env[data]'") from error
    try:
        found = pq.read_schema(path).names
    except pa.ArrowInvalid as error:
        raise TraceError(f"{path}: not a Parquet file: {error}") from error
    mapping, format_name, carbon_kind = _mapping(path, found)
    has_stamp = "stamp" in found
    table = pq.read_table(path, columns=["utc", "zone", *mapping.values(), *(["stamp"] if has_stamp else [])])
    if not table.num_rows:
        raise TraceError(f"{path}: no rows")
    kind = table.schema.field("utc").type
    if not pa.types.is_timestamp(kind) or kind.tz is None:
        raise TraceError(f"{path}: column utc is {kind}; need a timestamp with time zone (UTC)")
    if table["utc"].null_count or table["zone"].null_count:
        raise TraceError(f"{path}: columns utc and zone must have no empty cells; remove those rows")
    shift = _shift_minutes(path, set(table["stamp"].unique().to_pylist()) if has_stamp else set())
    names = table["zone"].combine_chunks()
    names = names if pa.types.is_dictionary(names.type) else names.dictionary_encode()
    return RawTable(
        zones=tuple(names.dictionary.to_pylist()),
        zone_index=names.indices.to_numpy(zero_copy_only=False).astype(np.int64),
        utc_minutes=_whole_minutes(path, table["utc"].to_numpy()) + shift,
        columns={own: table[name].to_numpy().astype(np.float64) for own, name in mapping.items()},
        format_name=format_name,
        carbon_kind=carbon_kind,
    )


def _whole_minutes(path: Path, utc: np.ndarray) -> np.ndarray:
    minutes = utc.astype("datetime64[m]")
    if (off := minutes != utc).any():
        raise TraceError(f"{path}: utc = {utc[off][0]}Z is not on a whole minute")
    return minutes.astype(np.int64)
