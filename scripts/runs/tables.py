"""Records as CSV files: a header, numbers in full precision, an empty cell where a number is missing (NaN)."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gridai_env.analysis.statistics import Interval
from gridai_env.files import atomic_write

Row = dict[str, Any]  # of a table: cells by column


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


def aligned(headers: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table: the first column to the left, the others to the right."""
    widths = [max(len(line[i]) for line in [headers, *lines]) for i in range(len(headers))]
    ruler = "  ".join("-" * width for width in widths)
    return "\n".join([_pad(headers, widths), ruler, *(_pad(line, widths) for line in lines)])


def _pad(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    return "  ".join([first, *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))])


def known(value: float, form: str) -> str:
    """Return a number as text, "-" where it is not known (NaN)."""
    return "-" if math.isnan(value) else form.format(value)


def interval_columns(name: str, interval: Interval) -> Row:
    """Return the columns of a value and the ends of its interval."""
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def spread_text(interval: Interval | None, form: str, ends: bool = True) -> str:
    """Return a value, with ``ends`` those of its interval; "-" where it is not known."""
    if interval is None or np.isnan(interval.value):
        return "-"
    text = form.format(interval.value)
    if not ends or np.isnan(interval.low) or np.isnan(interval.high):
        return text
    return f"{text} [{form.format(interval.low)}, {form.format(interval.high)}]"
