"""Records as CSV files: a header, numbers in full precision, an empty cell where a number is missing (NaN)."""

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gridai_env.analysis.statistics import Interval
from gridai_env.analysis.tables import aligned as aligned
from gridai_env.analysis.tables import known as known
from gridai_env.analysis.tables import spread_text as spread_text
from gridai_env.files import atomic_write

Row = dict[str, Any]  # of a table: cells by column


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file, cells as text."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_rows(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write records of equal keys atomically."""
    with atomic_write(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)


def replace_rows(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write a table of a run; one without rows leaves no file, nor one of an earlier run."""
    if rows:
        write_rows(rows, path)
    else:
        path.unlink(missing_ok=True)


def _cell(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def proof_of(is_safe: Iterable[float]) -> str:
    """Return in words how far bounds are proven: 1 in exact numbers, 0 to the solver's tolerance, NaN not known."""
    flags = list(is_safe)
    if any(math.isnan(flag) for flag in flags):
        return ""
    return ", proven" if all(flags) else f",{' on some episodes' if any(flags) else ''} to solver tolerance"


def interval_columns(name: str, interval: Interval) -> Row:
    """Return the columns of a value and the ends of its interval."""
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
