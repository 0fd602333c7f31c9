"""Records as CSV files: a header, numbers in full precision, an empty cell where a number is missing (NaN)."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gridai_env.files import whole
from scripts._common import InputError


def write_rows(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write records of equal keys; the file appears whole or not at all."""
    with whole(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)


def _cell(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def read_rows(path: Path, words: Sequence[str], whole: Sequence[str]) -> list[dict[str, Any]]:
    """Read records; columns in ``words`` are text, in ``whole`` whole numbers, all others numbers.

    Raises InputError where the file is damaged.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [
                {key: _value(key, cell, words, whole) for key, cell in row.items()}
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}); give --overwrite to start anew") from error


def _value(key: str, cell: str, words: Sequence[str], whole: Sequence[str]) -> Any:
    if key in words:
        return cell
    if key in whole:
        return int(cell)
    return float(cell) if cell else math.nan
