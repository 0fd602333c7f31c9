"""The rows of one zone of a trace file on a dense axis of time: their faults, means over steps, gaps filled on request.

A row holds over its whole interval.  The axis has the finest cells that are needed: those of an hourly file are hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from gridai_env.arrays.runs import runs_of_true
from gridai_env.arrays.types import Bool, Bools, Float, Floats, Int, Ints
from gridai_env.traces.bounds import USUAL_MEAN, possible_range, unusual_mean
from gridai_env.traces.errors import TraceError
from gridai_env.traces.files.formats import CALL, NOTICE, SELL, RawTable, is_of_site
from gridai_env.traces.files.intervals import interval_minutes
from gridai_env.traces.local_time import MINUTES_PER_DAY, MINUTES_PER_HOUR, stamp
from gridai_env.traces.series import INTERPOLATED

MOST_YEARS = 100  # of a file: every interval in between takes room
GAP, REPEATED, UNSORTED, STRAY = 1, 2, 3, 4
FAULTS = {
    GAP: ("row is missing", "add it, interpolate short gaps with FILE,fill_gap_h=2,"),
    REPEATED: ("row appears more than once", "keep one row per zone and interval"),
    UNSORTED: ("stamp is earlier than the row before it", "sort each zone by utc"),
    STRAY: ("row is off the grid of the rows around it", "remove it or complete its hour"),
}


@dataclass
class ZoneAxis:
    """One zone on an axis without a missing cell."""

    where: str  # file and zone, for errors
    cell_min: int  # length of a cell in minutes; it divides 60
    first: int  # cells since 1970 UTC
    fault: Int[Ints, " n"]  # a key of FAULTS, 0 where the cell is good
    row_min: Int[Ints, " n"]  # length of the row in minutes; 0: there is none
    row_start: Int[Ints, " n"]  # of the row, minutes since 1970 UTC
    values: dict[str, Float[Floats, " n"]]
    filled: int = 0  # cells that were interpolated on request

    @property
    def start(self) -> int:
        """The start of the first cell, minutes since 1970 UTC."""
        return self.first * self.cell_min

    @property
    def end(self) -> int:
        """The end of the last cell, minutes since 1970 UTC."""
        return (self.first + len(self.fault)) * self.cell_min

    @cached_property
    def usable(self) -> Bool[Bools, " n"]:
        """Whether a cell has no fault and every value of it is possible."""
        good = self.fault == 0
        for name, values in self.values.items():
            good &= _possible(name, values)
        return good

    @cached_property
    def bad_before(self) -> Int[Ints, " n+1"]:
        """How many cells before each one cannot be used."""
        return np.concatenate([[0], np.cumsum(~self.usable)])

    @cached_property
    def lengths_min(self) -> Int[Ints, " lengths"]:
        """The different lengths of the good rows in minutes, rising."""
        return np.unique(self.row_min[self.fault == 0])

    def cells(self, begin: Int[Ints, " B"], minutes: int) -> tuple[Int[Ints, " B"], Int[Ints, " B"]]:
        """Return the first cell of each window, and the one after its last; ``begin``: minutes since 1970 UTC."""
        return begin // self.cell_min - self.first, -(-(begin + minutes) // self.cell_min) - self.first

    # Faults -------------------------------------------------------------------------------------------------------

    def refuse_faults(self, begin: Int[Ints, " B"], minutes: int) -> None:
        """Raise TraceError naming the first cell of some windows that is outside of the file or cannot be used."""
        outside = begin[begin < self.start], begin[begin + minutes > self.end]
        if any(part.size for part in outside):
            found = outside[0].min() if outside[0].size else max(self.end, int(outside[1].min()))
            raise TraceError(
                f"{self.where}, {stamp(found)} is outside the file ({stamp(self.start)} to {stamp(self.end)}); "
                "choose a start inside it (a day before the start is read, too) or a shorter horizon"
            )

        first, last = self.cells(begin, minutes)
        bad = np.flatnonzero(self.bad_before[last] > self.bad_before[first])
        if bad.size:
            b = bad[first[bad].argmin()]
            window = np.flatnonzero(~self.usable[first[b] : last[b]]) + first[b]
            what, cure = self.fault_at(int(window[0]))
            many = f" ({window.size} of the {last[b] - first[b]} intervals of the window are bad)"
            raise TraceError(
                f"{self.where}, {what}{many if window.size > 1 else ''}; {cure} or choose another window"
            )

    def fault_at(self, cell: int) -> tuple[str, str]:
        """Return in words what is wrong with a cell that cannot be used, and what to do."""
        when = stamp((self.first + cell) * self.cell_min)
        if fault := int(self.fault[cell]):
            what, cure = FAULTS[fault]
            return f"{stamp(self.row_start[cell]) if fault == STRAY else when}: {what}", cure
        name = next(name for name, values in self.values.items() if not _possible(name, values[cell]))
        low, high = possible_range(name)
        value = self.values[name][cell]
        what = f"{when}: {name} = {value:g} (allowed: {low:g} to {high:g}, finite)"
        if name.startswith(NOTICE):
            return what, "give the hours of notice of the call that begins there"
        if name.startswith(CALL):
            return what, "write the share of the interval that is called: 0, 1 or between"
        if not np.isnan(value):
            return what, "correct it"
        if not self.good(name).size:
            return what, f"the column {name} is empty: fill it"
        return what, "fill the empty cell, interpolate short gaps with FILE,fill_gap_h=2,"

    def good(self, name: str) -> Float[Floats, " good"]:
        """Return the possible values of a column in cells without a fault."""
        values = self.values[name]
        return values[(self.fault == 0) & _possible(name, values)]

    @cached_property
    def unusual(self) -> tuple[str, ...]:
        """A sentence for each column whose mean is that of no market."""
        texts = [unusual_mean(name, self.good(name)) for name in USUAL_MEAN if name in self.values]
        return tuple(f"{self.where}: {text}" for text in texts if text)

    # Values -------------------------------------------------------------------------------------------------------

    def on_steps(
        self, begin: Int[Ints, " B"], steps: int, step_min: int
    ) -> dict[str, Float[Floats, "B steps"]]:
        """Return the columns on the steps of windows whose cells are all good.

        Finer rows are averaged; coarser ones are held, but weather is linear between the centres of the rows of the
        window.
        """
        unit = int(np.gcd(self.cell_min, step_min))
        parts = step_min // unit
        minute = begin[:, None] + np.arange(steps * parts) * unit
        cell = minute // self.cell_min - self.first

        def mean(parts_of_steps: Float[Floats, "B n"]) -> Float[Floats, "B steps"]:
            if parts == 1:
                return parts_of_steps
            return parts_of_steps.reshape(len(begin), steps, parts).mean(-1)

        if (self.lengths_min <= step_min).all():
            return {name: mean(values[cell]) for name, values in self.values.items()}
        coarse = self.row_min[cell] > step_min
        _, rows = np.unique(self.row_start, return_index=True)
        centre = self.row_start + 0.5 * self.row_min
        # Rows outside of the window do not count: at its ends the value is held.
        at_min = np.clip(minute + 0.5 * unit, centre[cell[:, :1]], centre[cell[:, -1:]])
        out = {}
        for name, values in self.values.items():
            here = values[cell]
            if name in INTERPOLATED:
                here = np.where(coarse, np.interp(at_min, centre[rows], values[rows]), here)
            out[name] = mean(here)
        return out

    def hourly(self) -> tuple[int, dict[str, Float[Floats, " hours"]]]:
        """Return the first hour (since 1970 UTC) and the means of the columns over hours, NaN where one is bad."""
        a_day, ahead = MINUTES_PER_HOUR // self.cell_min, self.start % MINUTES_PER_HOUR // self.cell_min
        behind = -(ahead + len(self.fault)) % a_day

        def means(values: Float[Floats, " n"]) -> Float[Floats, " hours"]:
            good = np.where(self.usable, values, np.nan)
            return np.pad(good, (ahead, behind), constant_values=np.nan).reshape(-1, a_day).mean(-1)

        return self.start // MINUTES_PER_HOUR, {name: means(values) for name, values in self.values.items()}


def zone_axis(
    raw: RawTable, source: str, zone: str, fill_gap_h: float = 0.0, of_sites: Sequence[str] = ()
) -> ZoneAxis:
    """Return the rows of one zone of a file on a dense axis; of the columns of sites those ``of_sites`` alone.

    Missing rows and empty cells up to ``fill_gap_h`` long are interpolated.  Raises TraceError where the zone has no
    rows or they are more than an hour apart.  Other faults are noted by cell: they matter only where it is used.
    """
    where = f"{source}: {raw.layout.place} {zone!r}"
    if zone not in raw.zones:
        raise TraceError(f"{where} is not in the file; it has {', '.join(raw.zones)}")
    rows = np.flatnonzero(raw.zone_index == raw.zones.index(zone))
    if not rows.size:
        raise TraceError(f"{where} has no rows; add its hours or choose another zone")

    # Intervals that are named by their end are read backwards in time.
    sign = -1 if raw.stamps_end else 1
    stamps, place, count = np.unique(sign * raw.stamp_minutes[rows], return_inverse=True, return_counts=True)
    if len(stamps) > 1 and np.diff(stamps).min() > MINUTES_PER_HOUR:
        raise TraceError(
            f"{where}: its rows are {np.diff(stamps).min() / MINUTES_PER_HOUR:g} h apart or more; a row stands for an "
            "hour at most: give the value of each hour"
        )
    if stamps[-1] - stamps[0] > MOST_YEARS * 366 * MINUTES_PER_DAY:
        ends = sorted(stamp(sign * stamps[i]) for i in (0, -1))
        raise TraceError(
            f"{where}: its rows span {ends[0]} to {ends[1]}, above {MOST_YEARS} years: correct the wrong stamp"
        )
    length = interval_minutes(stamps)
    start = stamps if sign > 0 else -stamps - length
    fault = np.where(length == 0, STRAY, np.where(count > 1, REPEATED, 0))
    backwards = place[1:][sign * np.diff(place) < 0]
    fault[backwards] = np.where(fault[backwards] == 0, UNSORTED, fault[backwards])

    # Of rows with the same stamp the last one is kept, for the error to show: the interval is refused as repeated.
    last = np.empty(len(stamps), dtype=np.int64)
    last[place] = rows
    columns = {
        name: column[last] for name, column in raw.columns.items() if not is_of_site(name) or name in of_sites
    }
    # A zone without any export price of its own in a file of others sells by the rule of its sites.
    if SELL in columns and np.isnan(columns[SELL]).all():
        del columns[SELL]
    axis = _axis(where, start, length, fault, columns)
    if fill_gap_h > 0:
        _fill(axis, round(fill_gap_h * MINUTES_PER_HOUR) // axis.cell_min)
    for name in of_sites:
        if name.startswith(NOTICE):
            # Notice matters where a call begins: elsewhere a cell may be empty.
            values, called = axis.values[name], axis.values[CALL + name.removeprefix(NOTICE)] > 0.0
            values[np.isnan(values) & ~begins(called)] = 0.0
    return axis


def begins(called: Bool[Bools, " n"]) -> Bool[Bools, " n"]:
    """Return the cells in which a call begins: those that are called, after one that is not."""
    return called & ~np.concatenate([[False], called[:-1]])


def _axis(
    where: str,
    start: Int[Ints, " r"],
    length: Int[Ints, " r"],
    fault: Int[Ints, " r"],
    columns: dict[str, Float[Floats, " r"]],
) -> ZoneAxis:
    """Return the axis of rows with different starts, strays (of length 0) last wherever they meet others."""
    good = length > 0
    cell_min = int(np.gcd.reduce(np.concatenate([[MINUTES_PER_HOUR], start[good], length[good]])))
    first = int(start.min()) // cell_min
    end = max(-(-int((start + length).max()) // cell_min), int(start.max()) // cell_min + 1)

    many = np.maximum(length // cell_min, 1)
    row = np.repeat(np.arange(len(start)), many)
    within = np.arange(len(row)) - np.repeat(np.cumsum(many) - many, many)
    order = np.argsort(~good[row], kind="stable")
    row, cell = row[order], (start[row] // cell_min - first + within)[order]

    size = end - first
    axis = ZoneAxis(
        where=where,
        cell_min=cell_min,
        first=first,
        fault=np.full(size, GAP),
        row_min=np.full(size, cell_min),
        row_start=(first + np.arange(size)) * cell_min,
        values={name: np.full(size, np.nan) for name in columns},
    )
    axis.fault[cell], axis.row_min[cell], axis.row_start[cell] = fault[row], length[row], start[row]
    for name, column in columns.items():
        axis.values[name][cell] = column[row]
    return axis


def _fill(axis: ZoneAxis, longest: int) -> None:
    """Interpolate missing rows and empty cells of up to ``longest`` cells in a row between good ones."""
    absent = axis.fault == GAP
    may = absent | (axis.fault == 0)
    touched = np.zeros(len(may), dtype=bool)

    for name, values in axis.values.items():
        empty = np.isnan(values) & may
        usable = _possible(name, values) & (axis.fault == 0)
        edges = runs_of_true(empty)
        for first, end in edges[edges[:, 1] - edges[:, 0] <= longest].tolist():
            if first > 0 and end < len(may) and usable[first - 1] and usable[end]:
                # Between a call and none nobody knows when it began or ended.
                if is_of_site(name) and values[first - 1] != values[end]:
                    continue
                here = np.arange(first, end)
                values[here] = np.interp(here, (first - 1, end), (values[first - 1], values[end]))
                touched[here] = True
    axis.fault[absent & touched] = 0
    axis.filled = int(touched.sum())


def _possible(name: str, values: Float[Floats, " n"]) -> Bool[Bools, " n"]:
    low, high = possible_range(name)
    return np.isfinite(values) & (values >= low) & (values <= high)
