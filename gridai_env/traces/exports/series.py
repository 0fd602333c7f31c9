"""The common form of all exports: a series of one zone in the units of the plain form and UTC, with its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gridai_env.arrays.types import Float, Floats, Int, Ints
from gridai_env.traces.errors import TraceError
from gridai_env.traces.local_time import MINUTES_PER_HOUR, stamp

STEPS_MIN = (1, 5, 10, 15, 20, 30, 60)


@dataclass(frozen=True, eq=False)
class Export:
    """A series as read from an export: rows in any order, or (after `on_steps`) intervals ascending, gaps left out."""

    source: str
    format_name: str
    text: str  # what was taken, for provenance
    utc_minutes: Int[
        Ints, " N"
    ]  # start of the interval (before `on_steps` its end where `ends`), minutes since 1970
    columns: dict[str, Float[Floats, " N"]]  # our names; NaN: the source has no value
    zone: str | None = None  # as the source names it, where it does
    ends_below_min: int = 0  # stamps of steps shorter than this mark the end
    step_minutes: Int[Ints, " N"] | None = None  # length of the interval; None: an hour
    notes: tuple[str, ...] = ()  # what was left out or changed, a line each

    @property
    def lengths(self) -> Int[Ints, " N"]:
        """Length of each interval, min."""
        if self.step_minutes is not None:
            return self.step_minutes
        return np.full(len(self.utc_minutes), MINUTES_PER_HOUR)


def on_steps(export: Export, average: bool = False, allow_missing: float = 0.0) -> Export:
    """Return the export on its own steps, ascending: 15, 30 or 60 minutes by stretch of the file.

    ``average`` makes hours.  Finer rows than 15 minutes are averaged to 15; a mean needs all its rows but a share
    ``allow_missing`` of them, else it is a gap.  Rows off the grid of the file are left out.  Raises TraceError for
    doubled or unsorted stamps, steps above an hour or that do not divide it, and stamps off the hour throughout.
    """
    utc, columns = _ascending(export)
    finest = _finest(export.source, utc)
    ends = finest < export.ends_below_min
    on_grid = utc % finest == 0
    if not on_grid.any():
        raise TraceError(
            f"{export.source}: {stamp(utc[0])} is no whole UTC hour, nor another row; export the series in UTC"
        )
    notes = [*export.notes, *_strays(utc[~on_grid], finest)]
    utc, columns = utc[on_grid], {name: values[on_grid] for name, values in columns.items()}

    # Minutes count from the start of the hour to the stamp, 0 to 59, or to the end of the interval, 1 to 60.
    hours, index = np.unique((utc - ends) // MINUTES_PER_HOUR, return_inverse=True)
    step = _step_of_hours(utc - hours[index] * MINUTES_PER_HOUR, index)
    target = np.full(len(step), MINUTES_PER_HOUR) if average else _kept_steps(step)
    start = utc - ends * step[index]

    found, group = np.unique(start - start % target[index], return_inverse=True)
    row = np.zeros(len(found), dtype=np.int64)
    row[group] = index
    expected = target[row] / step[row]
    means = {name: _means(values, group, expected, allow_missing) for name, values in columns.items()}
    notes += _averaged(step, target, sum(int(np.isnan(values).sum()) for values in means.values()))
    return replace(
        export,
        utc_minutes=found,
        columns=means,
        step_minutes=target[row],
        notes=tuple(notes),
        ends_below_min=0,
    )


def _ascending(export: Export) -> tuple[Int[Ints, " N"], dict[str, Float[Floats, " N"]]]:
    """Return stamps and columns in ascending order; some portals list the newest first."""
    path, utc, columns = export.source, export.utc_minutes, export.columns
    if not len(utc):
        raise TraceError(f"{path}: no rows of the series asked for")
    steps = np.diff(utc)
    if len(steps) and (steps <= 0).all() and steps[0] < 0:
        utc, steps = utc[::-1], -steps[::-1]
        columns = {name: values[::-1] for name, values in columns.items()}
    if (steps == 0).any():
        twice = stamp(utc[1:][steps == 0][0])
        raise TraceError(f"{path}: the interval {twice} stands twice; keep one row of each")
    if (steps < 0).any():
        raise TraceError(
            f"{path}: {stamp(utc[1:][steps < 0][0])} is earlier than the row before; sort the rows"
        )
    return utc, columns


def _finest(path: str, utc: Int[Ints, " N"]) -> int:
    """Return the finest step of the file, min; one that never comes twice in a row is that of a stray row."""
    steps = np.diff(utc)
    if not len(steps):
        return MINUTES_PER_HOUR
    if steps.min() > MINUTES_PER_HOUR:
        raise TraceError(
            f"{path}: the stamps are at least {steps.min() / 60:g} h apart; an hourly or finer export is needed"
        )
    steady = steps[1:][np.diff(steps) == 0]
    usual = [step for step in STEPS_MIN if step in (steady if np.isin(steady, STEPS_MIN).any() else steps)]
    if not usual:
        raise TraceError(
            f"{path}: steps of {steps.min()} min do not divide the hour; export {', '.join(map(str, STEPS_MIN))} min"
        )
    return usual[0]


def _strays(utc: Int[Ints, " n"], finest: int) -> list[str]:
    return (
        [f"{len(utc)} rows off the {finest} min grid left out, the first {stamp(utc[0])}"] if len(utc) else []
    )


def _step_of_hours(minute: Int[Ints, " N"], index: Int[Ints, " N"]) -> Int[Ints, " H"]:
    """Return the step of each hour that has rows, min; one that is coarser than all hours around it has lost rows."""
    step = np.full(index[-1] + 1, MINUTES_PER_HOUR)
    np.gcd.at(step, index, minute)
    around = np.stack([np.r_[0, step[:-1]], np.r_[step[1:], 0]])  # 0: no hour there
    finer = np.where(around.min(0) > 0, around.min(0), around.max(0))
    return np.where((around < step).all(0) & (finer > 0), finer, step)


def _kept_steps(step: Int[Ints, " H"]) -> Int[Ints, " H"]:
    """Return the finest steps of a trace file that hold whole rows: 15, 30 or 60 min."""
    return np.where(15 % step == 0, 15, np.where(30 % step == 0, 30, MINUTES_PER_HOUR))


def _means(
    values: Float[Floats, " N"], group: Int[Ints, " N"], expected: Float[Floats, " n"], allow_missing: float
) -> Float[Floats, " n"]:
    """Return the mean of each group; NaN where more than the share of its rows is missing."""
    good = np.isfinite(values)
    count = np.bincount(group[good], minlength=len(expected))
    total = np.bincount(group[good], values[good], minlength=len(expected))
    enough = (count > 0) & (count >= (1.0 - allow_missing) * expected - 1e-9)
    return np.where(enough, total / np.maximum(count, 1), np.nan)


def _averaged(step: Int[Ints, " H"], target: Int[Ints, " H"], gaps: int) -> list[str]:
    """Return what became of which steps, in words."""
    pairs = np.unique(np.stack([step, target]), axis=1).T
    made = [f"{a} min rows averaged to {b} min" for a, b in pairs if a != b]
    return [*made, f"{gaps} intervals are gaps: no value, or too few rows for a mean"] if gaps else made


def step_words(lengths: Sequence[int] | Int[Ints, " N"]) -> str:
    """Return steps in words: ``48 of 60 min, 96 of 15 min``, the coarsest first."""
    steps, count = np.unique(np.asarray(lengths), return_counts=True)
    return ", ".join(f"{n} of {s} min" for s, n in zip(steps[::-1], count[::-1], strict=True))
