"""The table of measured round-trip times (figures: calibration/azure_rtt_ms.csv)."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

TABLE = Path(__file__).parent / "traces" / "calibration" / "azure_rtt_ms.csv"


@cache
def rtt_table() -> dict[tuple[str, str], float]:
    """Return round-trip times in ms by (from, to); where one direction is not given, it takes the other's."""
    text = TABLE.read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    given = {
        (start, row["to"]): float(ms) for row in rows for start, ms in row.items() if start != "to" and ms
    }
    return {(b, a): ms for (a, b), ms in given.items()} | given


@cache
def rtt_keys() -> tuple[str, ...]:
    """Return the names that the table knows, sorted."""
    return tuple(sorted({name for pair in rtt_table() for name in pair}))
