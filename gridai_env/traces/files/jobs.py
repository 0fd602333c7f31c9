"""Files of batch jobs: arrival, length and size of each, told apart by their columns.

pai
    ``arrival_time,length,cpus`` in hours and processors (the sample of Alibaba's PAI cluster in GAIA).  It has no
    accelerators, so ``cpus`` gives the relative sizes; its arrivals were resampled to a year by its authors.
plain
    ``arrival_h,duration_h,gpus``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gridai_env.arrays.types import Float, Floats
from gridai_env.traces.errors import TraceError
from gridai_env.traces.files import cells

FORMS = {"pai": ("arrival_time", "length", "cpus"), "plain": ("arrival_h", "duration_h", "gpus")}
MOST = (1e6, 1e6, 1e7)  # arrival and length in hours, size


@dataclass(frozen=True)
class JobRows:
    """The jobs of a file, in file order."""

    source: str
    sha256: str
    form: str
    arrival_h: Float[Floats, " N"]  # rising
    duration_h: Float[Floats, " N"]
    size: Float[Floats, " N"]  # processors or accelerators


@cells.read_once("file of jobs; give a .parquet, .csv or .csv.gz", files=4)
def read_job_rows(path: Path) -> JobRows:
    """Read a file of batch jobs (.parquet, .csv, .csv.gz); the same unchanged file is read once per process.

    Raises TraceError, and FileNotFoundError for a file that is not there.
    """
    form, columns = _parquet(path) if cells.check_suffix(path) else _text(path)
    arrival, duration, size = columns
    if not len(arrival):
        raise TraceError(f"{path}: no rows")

    for name, values, most in zip(FORMS[form], columns, MOST, strict=True):
        bad = ~((values >= 0.0) & (values <= most))  # also where it is NaN
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            raise TraceError(
                f"{path}: row {at + 1}, {name} = {values[at]:g}: must be a number from 0 to {most:g}"
            )
    if (backwards := np.diff(arrival) < 0).any():
        at = int(np.flatnonzero(backwards)[0]) + 2
        raise TraceError(
            f"{path}: row {at}, {FORMS[form][0]} is earlier than the row before it; sort the rows"
        )
    return JobRows(str(path), cells.file_sha256(path), form, arrival, duration, size)


def _form(path: Path, header: list[str]) -> str:
    found = next((form for form, columns in FORMS.items() if set(columns) <= set(header)), None)
    if found is None:
        wanted = " or ".join(f"{form} ({','.join(columns)})" for form, columns in FORMS.items())
        raise TraceError(
            f"{path}: expected jobs in the form {wanted}, found the header {cells.shown(header)}"
        )
    return found


def _text(path: Path) -> tuple[str, list[Float[Floats, " N"]]]:
    with cells.text_rows(path) as (header, rows):
        form = _form(path, header)
        jobs = list(rows)
    lines = [line for line, _ in jobs]
    texts = {name: [row[header.index(name)] for _, row in jobs] for name in FORMS[form]}
    return form, [cells.numbers(path, lines, name, column, 0, MOST[2]) for name, column in texts.items()]


def _parquet(path: Path) -> tuple[str, list[Float[Floats, " N"]]]:
    pa, pq = cells.parquet_modules(path)
    try:
        form = _form(path, pq.read_schema(path).names)
        table = pq.read_table(path, columns=list(FORMS[form]))
        return form, [table[name].cast(pa.float64()).to_numpy() for name in FORMS[form]]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TraceError(f"{path}: not a Parquet file of jobs: {error}") from error
