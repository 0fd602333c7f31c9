"""The common form of all exports: an hourly series of one zone in the units of the plain form and UTC."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gridai_env.arrays.types import Float, Floats, Int, Ints
from gridai_env.traces.errors import TraceError
from gridai_env.traces.local_time import MINUTES_PER_HOUR, stamp


@dataclass(frozen=True, eq=False)
class Export:
    """A series as read from an export: rows in any order, or (after `hourly`) hours ascending, gaps left out."""

    source: str
    format_name: str
    text: str  # what was taken, for provenance
    utc_minutes: Int[Ints, " N"]  # start of the interval, minutes since 1970
    columns: dict[str, Float[Floats, " N"]]  # our names; NaN: the source has no value
    zone: str | None = None  # as the source names it, where it does


def hourly(export: Export, average: bool) -> Export:
    """Return the export by whole UTC hours, ascending.

    Rows may ascend or descend.  Finer rows are averaged where ``average`` asks for it; an hour that is not whole
    stays a gap.  Raises TraceError for doubled or unsorted stamps, steps above an hour and stamps off the hour.
    """
    path, utc = Path(export.source), export.utc_minutes
    if not len(utc):
        raise TraceError(f"{path}: no rows of the series asked for")

    # Some portals list the newest hour first: that is turned round, any other disorder refused.
    columns, steps = export.columns, np.diff(utc)
    if len(steps) and (steps < 0).all():
        utc, steps = utc[::-1], -steps[::-1]
        columns = {name: values[::-1] for name, values in columns.items()}
    if (steps == 0).any():
        raise TraceError(
            f"{path}: the hour {stamp(utc[1:][steps == 0][0])} stands twice; keep one row of each"
        )
    if (steps < 0).any():
        raise TraceError(
            f"{path}: {stamp(utc[1:][steps < 0][0])} is earlier than the row before; sort the rows"
        )

    step_min = int(steps.min()) if len(steps) else MINUTES_PER_HOUR
    if step_min > MINUTES_PER_HOUR:
        raise TraceError(
            f"{path}: the stamps are at least {step_min / 60:g} h apart; an hourly export is needed"
        )
    if step_min < MINUTES_PER_HOUR:
        utc, columns = _averaged(path, utc, columns, step_min, average)
    if (off := utc % MINUTES_PER_HOUR != 0).any():
        raise TraceError(f"{path}: {stamp(utc[off][0])} is no whole UTC hour; export the series in UTC")
    return replace(export, utc_minutes=utc, columns=columns)


def _averaged(
    path: Path, utc: Int[Ints, " N"], columns: dict[str, Float[Floats, " N"]], step_min: int, average: bool
) -> tuple[Int[Ints, " n"], dict[str, Float[Floats, " n"]]]:
    """Return the hours that are whole, and their means."""
    if MINUTES_PER_HOUR % step_min or (utc % step_min).any():
        raise TraceError(f"{path}: steps of {step_min} min do not divide the hour; export hours")
    if not average:
        raise TraceError(
            f"{path}: steps of {step_min} min; ask for hourly means with average=True (--average)"
        )
    hours, index, count = np.unique(utc // MINUTES_PER_HOUR, return_inverse=True, return_counts=True)
    whole = count == MINUTES_PER_HOUR // step_min
    means = {name: np.bincount(index, values) / count for name, values in columns.items()}
    return hours[whole] * MINUTES_PER_HOUR, {name: values[whole] for name, values in means.items()}
