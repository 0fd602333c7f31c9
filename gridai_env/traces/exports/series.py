"""The common form of all exports: a series of one zone in the units of the plain form and UTC, with its steps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gridai_env.arrays.types import Float, Floats, Int, Ints
from gridai_env.traces.errors import TraceError
from gridai_env.traces.files.intervals import interval_minutes
from gridai_env.traces.local_time import MINUTES_PER_HOUR, stamp


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
    by_order: bool = (
        False  # rows may not be sorted: their order was used (equal hours of a clock, hours before)
    )
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
    ``allow_missing`` of them, else it is a gap.  Rows off the grid of their stretch are left out.  Raises TraceError
    for doubled stamps, unsorted ones where their order matters, steps above an hour, and rows of which most are off
    any grid.
    """
    utc, columns = _ascending(export)
    length, start = _intervals(export, utc)
    stray = length == 0
    if 2 * stray.sum() > len(utc):
        raise TraceError(
            f"{export.source}: most rows are off any grid of an hour or a whole part of it, the first "
            f"{stamp(utc[stray][0])}; export hours, or whole parts of them"
        )
    notes = [*export.notes]
    if len(set(np.sign(np.diff(export.utc_minutes)))) > 1:
        notes.append("rows out of order, sorted by time")
    if stray.any():
        notes.append(f"{stray.sum()} rows off the grid left out, the first {stamp(utc[stray][0])}")
    length, start = length[~stray], start[~stray]

    target = np.full(len(length), MINUTES_PER_HOUR) if average else _kept_steps(length)
    found, first, group = np.unique(
        np.where(target == length, start, start - start % target), return_index=True, return_inverse=True
    )
    expected = target[first] / length[first]
    means = {name: _means(v[~stray], group, expected, allow_missing) for name, v in columns.items()}
    pairs = np.unique(np.stack([length, target]), axis=1).T
    notes += [f"{old} min rows averaged to {new} min" for old, new in pairs if old != new]
    if gaps := sum(int(np.isnan(values).sum()) for values in means.values()):
        notes.append(f"{gaps} intervals are gaps: no value, or too few rows for a mean")
    return replace(
        export,
        utc_minutes=found,
        columns=means,
        step_minutes=target[first],
        notes=tuple(notes),
        ends_below_min=0,
    )


def _ascending(export: Export) -> tuple[Int[Ints, " N"], dict[str, Float[Floats, " N"]]]:
    """Return stamps and columns in ascending order; some portals list the newest first, or region by region."""
    path, utc, columns = export.source, export.utc_minutes, export.columns
    if not len(utc):
        raise TraceError(f"{path}: no rows of the series asked for")
    if not export.by_order:
        order = np.argsort(utc, kind="stable")
        utc, columns = utc[order], {name: values[order] for name, values in columns.items()}
    steps = np.diff(utc)
    if len(steps) and (steps <= 0).all() and steps[0] < 0:
        utc, steps = utc[::-1], -steps[::-1]
        columns = {name: values[::-1] for name, values in columns.items()}
    if (steps == 0).any():
        twice = stamp(utc[1:][steps == 0][0])
        raise TraceError(f"{path}: the interval {twice} stands twice; keep one row of each")

    if (steps < 0).any():
        raise TraceError(
            f"{path}: {stamp(utc[1:][steps < 0][0])} is earlier than the row before; sort the rows, or "
            "export UTC"
        )
    if len(steps) and steps.min() > MINUTES_PER_HOUR:
        raise TraceError(
            f"{path}: the stamps are at least {steps.min() / 60:g} h apart; an hourly or finer export is needed"
        )
    return utc, columns


def _intervals(export: Export, utc: Int[Ints, " N"]) -> tuple[Int[Ints, " N"], Int[Ints, " N"]]:
    """Return length and start of the interval of each row; length 0: off the grid of its stretch."""
    usual = np.median(np.diff(utc)) if len(utc) > 1 else MINUTES_PER_HOUR
    if usual >= export.ends_below_min:
        return interval_minutes(utc), utc
    # Where time runs backwards an end is a start.
    length = interval_minutes(-utc[::-1])[::-1]
    return length, utc - length


def _kept_steps(length: Int[Ints, " N"]) -> Int[Ints, " N"]:
    """Return the finest steps of a trace file that hold whole rows: 15, 30 or 60 min."""
    return np.where(15 % length == 0, 15, np.where(30 % length == 0, 30, MINUTES_PER_HOUR))


def _means(
    values: Float[Floats, " N"], group: Int[Ints, " N"], expected: Float[Floats, " n"], allow_missing: float
) -> Float[Floats, " n"]:
    """Return the mean of each group; NaN where more than the share of its rows is missing."""
    good = np.isfinite(values)
    count = np.bincount(group[good], minlength=len(expected))
    total = np.bincount(group[good], values[good], minlength=len(expected))
    enough = (count > 0) & (count >= (1.0 - allow_missing) * expected - 1e-9)
    return np.where(enough, total / np.maximum(count, 1), np.nan)


def step_words(lengths: Int[Ints, " N"]) -> str:
    """Return steps in words: ``48 of 60 min, 96 of 15 min``, the coarsest first."""
    steps, count = np.unique(lengths, return_counts=True)
    return ", ".join(f"{n} of {s} min" for s, n in zip(steps[::-1], count[::-1], strict=True))
