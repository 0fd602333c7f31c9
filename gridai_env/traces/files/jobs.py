"""Files of batch jobs: arrival, length and size of each, told apart by their columns.

pai
    ``arrival_time,length,cpus`` in hours and processors (the sample of Alibaba's PAI cluster in GAIA).  It has no
    accelerators, so ``cpus`` gives the relative sizes; its arrivals were resampled to a year by its authors.
plain
    ``arrival_h,duration_h,gpus``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from gridai_env.traces.errors import TraceError
from gridai_env.traces.files.cells import file_sha256, number, shown, text_rows

FORMS = {"pai": ("arrival_time", "length", "cpus"), "plain": ("arrival_h", "duration_h", "gpus")}
LONGEST_H = 1e6
MOST = 1e7


@dataclass(frozen=True)
class JobRows:
    """The jobs of a file, in file order, [N] each."""

    source: str
    sha256: str
    form: str
    arrival_h: np.ndarray  # rising
    duration_h: np.ndarray
    size: np.ndarray  # processors or accelerators


def read_job_rows(path: str | Path) -> JobRows:
    """Read a file of batch jobs (.parquet, .csv, .csv.gz); the same unchanged file is read once per process.

    Raises TraceError, and FileNotFoundError for a file that is not there.
    """
    resolved = Path(path).resolve()
    try:
        status = resolved.stat()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file of jobs; give a .parquet, .csv or .csv.gz") from None
    return _read(resolved, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _read(path: Path, mtime_ns: int, size: int) -> JobRows:
    if path.name.endswith(".parquet"):
        form, columns = _parquet(path)
    elif path.name.endswith((".csv", ".csv.gz")):
        form, columns = _text(path)
    else:
        raise TraceError(f"{path}: unknown suffix {path.suffix!r}; use .parquet, .csv or .csv.gz")
    arrival, duration, amount = columns
    if not len(arrival):
        raise TraceError(f"{path}: no rows")
    for name, values, low in zip(FORMS[form], columns, (0.0, 0.0, 0.0), strict=True):
        high = MOST if name in ("cpus", "gpus") else LONGEST_H
        bad = ~((values >= low) & (values <= high))
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            raise TraceError(
                f"{path}: row {at + 1}, {name} = {values[at]:g}: must be a number from {low:g} to {high:g}"
            )
    if (backwards := np.diff(arrival) < 0).any():
        at = int(np.flatnonzero(backwards)[0]) + 2
        raise TraceError(
            f"{path}: row {at}, {FORMS[form][0]} is earlier than the row before it; sort the rows"
        )
    return JobRows(str(path), file_sha256(path), form, arrival, duration, amount)


def _form(path: Path, header: list[str]) -> str:
    found = next((form for form, columns in FORMS.items() if set(columns) <= set(header)), None)
    if found is None:
        wanted = " or ".join(f"{form} ({','.join(columns)})" for form, columns in FORMS.items())
        raise TraceError(f"{path}: expected jobs in the form {wanted}, found the header {shown(header)}")
    return found


def _text(path: Path) -> tuple[str, list[np.ndarray]]:
    with text_rows(path) as (header, rows):
        form = _form(path, header)
        at = [header.index(name) for name in FORMS[form]]
        values = [
            [number(path, line, name, row[i], 0, MOST) for name, i in zip(FORMS[form], at, strict=True)]
            for line, row in rows
        ]
    table = np.array(values, dtype=float).reshape(-1, 3)
    return form, list(table.T)


def _parquet(path: Path) -> tuple[str, list[np.ndarray]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError(f"{path}: reading Parquet needs pyarrow: pip install 'gridai-env[data]'") from error
    try:
        form = _form(path, pq.read_schema(path).names)
        table = pq.read_table(path, columns=list(FORMS[form]))
        return form, [table[name].cast(pa.float64()).to_numpy() for name in FORMS[form]]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TraceError(f"{path}: not a Parquet file of jobs: {error}") from error
