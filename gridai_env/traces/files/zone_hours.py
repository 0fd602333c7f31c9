"""The hours of one zone of a trace file on a dense axis: their faults, and their means by hour of day."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from gridai_env.arrays.types import Bool, Bools, Float, Floats, Int, Ints
from gridai_env.traces.calibration import known_zones
from gridai_env.traces.errors import TraceError
from gridai_env.traces.files.formats import OPTIONAL, RawTable
from gridai_env.traces.local_time import MINUTES_PER_HOUR, stamp

MIN_DAYS_FOR_PROFILE = 14
# What a value may be; the others need only be finite.
LOWEST = {"carbon_average_kg_per_mwh": 0.0, "carbon_marginal_kg_per_mwh": 0.0, "pv_cf": 0.0, "wind_cf": 0.0}
HIGHEST = {"pv_cf": 1.0, "wind_cf": 1.0}
GAP, REPEATED, UNSORTED = 1, 2, 3
FAULTS = {
    GAP: ("hour is missing", "add the hour or choose another window"),
    REPEATED: ("hour appears more than once", "keep one row per zone and hour"),
    UNSORTED: ("stamp is earlier than the row before it", "sort each zone by utc"),
}


@dataclass
class ZoneHours:
    """One zone on an hourly axis without a missing hour."""

    where: str  # file and zone, for errors
    first: int  # hours since 1970 UTC
    fault: Int[Ints, " n"]  # a key of FAULTS, 0 where the hour is good
    values: dict[str, Float[Floats, " n"]]
    by_hour_of_day: dict[str, Float[Floats, " 24"]] = field(default_factory=dict)  # cache: column -> means

    @property
    def end(self) -> int:
        """The hour after the last one."""
        return self.first + len(self.fault)

    @cached_property
    def usable(self) -> Bool[Bools, " n"]:
        """Whether an hour has no fault and every value of it is possible."""
        good = self.fault == 0
        for name, values in self.values.items():
            good &= _plausible(name, values)
        return good

    @cached_property
    def has_profile(self) -> bool:
        """Whether the good hours are enough for a mean by hour of day."""
        count = np.bincount(self._hours_of_day(), minlength=24)
        return int(count.sum()) >= 24 * MIN_DAYS_FOR_PROFILE and bool(count.all())

    def _hours_of_day(self) -> Int[Ints, " good"]:
        return (self.first + np.flatnonzero(self.usable)) % 24

    def hour_of_day_mean(self, name: str) -> Float[Floats, " 24"]:
        """Return the mean of the good hours by UTC hour of day; their overall mean where the file is short."""
        if name not in self.by_hour_of_day:
            values = self.values[name][self.usable]
            if self.has_profile:
                hour = self._hours_of_day()
                mean = np.bincount(hour, values, 24) / np.bincount(hour, minlength=24)
            else:
                mean = np.full(24, values.mean())
            self.by_hour_of_day[name] = mean
        return self.by_hour_of_day[name]

    def refuse_faults(self, hour: Int[Ints, "*batch"]) -> None:
        """Raise TraceError naming the first of some hours that is outside of the file or cannot be used."""
        wanted = np.unique(hour)
        outside = wanted[(wanted < self.first) | (wanted >= self.end)]
        if outside.size:
            covered = f"{_stamp_of(self.first)} to {_stamp_of(self.end)}"
            raise TraceError(
                f"{self.where}, {_stamp_of(outside[0])} is outside the file ({covered}); "
                "start inside valid_starts() or use fewer steps"
            )

        fault = self.fault[wanted - self.first]
        if fault.any():
            at = int(np.flatnonzero(fault)[0])
            what, cure = FAULTS[int(fault[at])]
            raise TraceError(f"{self.where}, {_stamp_of(wanted[at])}: {what}; {cure}")

        for name, series in self.values.items():
            values = series[wanted - self.first]
            bad = ~_plausible(name, values)
            if bad.any():
                at = int(np.flatnonzero(bad)[0])
                raise TraceError(
                    f"{self.where}, {_stamp_of(wanted[at])}: {name} = {values[at]} (allowed: "
                    f"{LOWEST.get(name, '-inf')} to {HIGHEST.get(name, 'inf')}, finite); "
                    "correct it or choose another window"
                )


def zone_hours(raw: RawTable, source: str, zone: str) -> ZoneHours:
    """Return the hours of one zone of a file.

    Raises TraceError where it has none, lacks a column that no calibration can stand in for, or has stamps off
    the hour.  Other faults are noted by hour: they matter only where the hour is used.
    """
    where = f"{source}: zone {zone!r}"
    if zone not in raw.zones:
        raise TraceError(f"{where} is not in the file; it has {', '.join(raw.zones)}")
    lacking = [name for name in OPTIONAL if name not in raw.columns]
    if lacking and zone not in known_zones():
        raise TraceError(
            f"{where} is not calibrated, so nothing can stand in for {lacking}; "
            f"add these columns or use one of {', '.join(known_zones())}"
        )
    rows = np.flatnonzero(raw.zone_index == raw.zones.index(zone))
    if not rows.size:
        raise TraceError(f"{where} has no rows; add its hours or choose another zone")
    minutes = raw.utc_minutes[rows]
    if (off := minutes % MINUTES_PER_HOUR != 0).any():
        raise TraceError(f"{where}, {stamp(minutes[off][0])} is no whole hour; average to hours first")

    # Of rows for the same hour the last one is kept, for the error to show: the hour is refused as repeated.
    hour = minutes // MINUTES_PER_HOUR
    first = int(hour.min())
    place = hour - first
    count = np.bincount(place)
    fault = np.where(count == 0, GAP, np.where(count > 1, REPEATED, 0))
    backwards = place[1:][np.diff(place) < 0]
    fault[backwards] = np.where(fault[backwards] == 0, UNSORTED, fault[backwards])

    values = {name: np.full(len(count), np.nan) for name in raw.columns}
    for name, column in raw.columns.items():
        values[name][place] = column[rows]
    return ZoneHours(where, first, fault, values)


def _stamp_of(hour: int) -> str:
    return stamp(hour * MINUTES_PER_HOUR)


def _plausible(name: str, values: Float[Floats, " n"]) -> Bool[Bools, " n"]:
    low, high = LOWEST.get(name, -np.inf), HIGHEST.get(name, np.inf)
    return np.isfinite(values) & (values >= low) & (values <= high)
