"""The common form of all exports: a series of one zone in the units of the plain form and UTC, with its steps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from gridai_env.arrays.types import Float, Floats, Int, Ints
from gridai_env.traces.errors import TraceError
from gridai_env.traces.files.intervals import interval_minutes
from gridai_env.traces.local_time import MINUTES_PER_HOUR, stamp


@dataclass(frozen=True, eq=False)
class Export:
    """A series as read from an export: rows in any order, or (after `on_steps`) intervals ascending, gaps left out.

    ``utc_minutes`` are the starts of the intervals, minutes since 1970; before `on_steps` their ends where
    ``ends_below_min`` says so: stamps of steps shorter than this mark the end.
    """

    source: str
    format_name: str
    text: str  # what was taken, for provenance
    utc_minutes: Int[Ints, " N"]
    columns: dict[str, Float[Floats, " N"]]  # our names; NaN: the source has no value
    zone: str | None = None  # as the source names it, where it does
    ends_below_min: int = 0
    # Rows may not be sorted: their order was used (equal hours of a clock, hours before).
    by_order: bool = False
    step_minutes: Int[Ints, " N"] = field(default_factory=lambda: np.zeros(0, np.int64))  # set by `on_steps`
    notes: tuple[str, ...] = ()  # what was left out or changed, a line each

    @property
    def span(self) -> tuple[int, int]:
        """Start of the first interval and end of the last one, minutes since 1970 UTC."""
        return int(self.utc_minutes[0]), int(self.utc_minutes[-1] + self.step_minutes[-1])


def on_steps(export: Export, average: bool = False, allow_missing: float = 0.0) -> Export:
    """Return the export on its own steps, ascending: an hour or whole parts of it, by stretch of the file.

    ``average``: on hours; a mean may lack the share ``allow_missing`` of its hour, else it is a gap.

    Rows off the grid of their stretch are left out.  Raises TraceError for doubled stamps, unsorted ones where their
    order matters, steps above an hour, rows of which most are off any grid, and a column without a value.
    """
    utc, columns = _ascending(export)
    length, start = _intervals(export, utc)
    good, stray = length > 0, utc[length == 0]
    if 2 * len(stray) > len(utc):
        raise TraceError(
            f"{export.source}: most rows are off any grid of an hour or a whole part of it, the first "
            f"{stamp(stray[0])}; export hours, or whole parts of them"
        )

    notes = [*export.notes]
    if len(set(np.sign(np.diff(export.utc_minutes)))) > 1:
        notes.append("rows out of order, sorted by time")
    if len(stray):
        notes.append(f"{len(stray)} rows off the grid left out, the first {stamp(stray[0])}")
    start, length = start[good], length[good]
    kept = {name: values[good] for name, values in columns.items()}
    if empty := [name for name, values in kept.items() if np.isnan(values).all()]:
        raise TraceError(
            f"{export.source}: no row has a value of {', '.join(empty)}; all are empty or left out"
        )
    if average and (length < MINUTES_PER_HOUR).any():
        notes.append(f"averaged to hours: {step_words(length)}")
        start, kept = _hours(start, length, kept, allow_missing)
        length = np.full(len(start), MINUTES_PER_HOUR)
    if gaps := sum(int(np.isnan(values).sum()) for values in kept.values()):
        notes.append(f"{gaps} intervals are gaps: no value, or too few rows for a mean")
    return replace(export, utc_minutes=start, columns=kept, step_minutes=length, notes=tuple(notes))


def _hours(
    start: Int[Ints, " N"],
    length: Int[Ints, " N"],
    columns: dict[str, Float[Floats, " N"]],
    allow_missing: float,
) -> tuple[Int[Ints, " n"], dict[str, Float[Floats, " n"]]]:
    """Return the hours of intervals and the means over them, NaN where more than a share of an hour is missing."""
    hours, group = np.unique(start - start % MINUTES_PER_HOUR, return_inverse=True)
    means = {}
    for name, values in columns.items():
        known = np.where(np.isfinite(values), length, 0)
        minutes = np.bincount(group, known, len(hours))
        total = np.bincount(group, np.nan_to_num(values) * known, len(hours))
        enough = (minutes > 0) & (minutes >= (1.0 - allow_missing) * MINUTES_PER_HOUR - 1e-9)
        means[name] = np.where(enough, total / np.maximum(minutes, 1), np.nan)
    return hours, means


def _ascending(export: Export) -> tuple[Int[Ints, " N"], dict[str, Float[Floats, " N"]]]:
    """Return stamps and columns in ascending order; some portals list the newest first, or region by region.

    Rows whose order was used ascend already, or are refused.
    """
    path, utc, columns = export.source, export.utc_minutes, export.columns
    if not len(utc):
        raise TraceError(f"{path}: no rows of the series asked for")
    if not export.by_order:
        order = np.argsort(utc, kind="stable")
        utc, columns = utc[order], {name: values[order] for name, values in columns.items()}
    steps = np.diff(utc)
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


def step_words(lengths: Int[Ints, " N"]) -> str:
    """Return steps in words: ``48 of 60 min, 96 of 15 min``, the coarsest first."""
    steps, count = np.unique(lengths, return_counts=True)
    return ", ".join(f"{n} of {s} min" for s, n in zip(steps[::-1], count[::-1], strict=True))
