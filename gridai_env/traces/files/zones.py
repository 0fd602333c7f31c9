"""Readers of hourly price, carbon and weather files, chosen by suffix (.parquet, .csv, .csv.gz) and by
columns.

Both forms are long: one row per zone and hour, UTC inside, USD/MWh, kg/MWh (= g/kWh), deg C, capacity
factors 0..1.

plain form
    `utc` (ISO 8601 with Z or an offset; in Parquet a timestamp with time zone), `zone`, `price_usd_per_mwh`,
    `carbon_average_kg_per_mwh`; optional `carbon_marginal_kg_per_mwh`, `wetbulb_c`, `pv_cf`, `wind_cf`;
    optional `stamp` = `hour_start` (default) | `hour_end`, the same in all rows: what the stamps mark.
panel form
    `utc`, `zone`, `price_usd`, `ci_direct` (else `ci_lca`), optional `wetbulb_c`, `pv_cf_proxy`,
    `wind_cf_proxy`.

What is missing: marginal carbon becomes the zone's annual marginal factor, wet bulb, PV and wind the zone's
month-hour means of the calibration, for the zones of `known_zones()`; for any other zone the column must be
there. Climatology: the calibrated month-hour means for a known zone; else the zone's mean by UTC hour of day
over the file's good hours if these are at least 14 days, else their overall mean: both are over the whole file,
the episode included, and `provenance` says so. For known zones a marginal column that is present is expected
at its own mean by hour of day, as for other zones.

Faults (gap, repeated hour, unsorted stamps, empty or impossible value) are refused only for the zones and
hours in use, so that a file with one broken zone still serves the others. Nothing is filled in silently.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from gridai_env.traces.calibration import calibration_year, known_zones, zone_calibration
from gridai_env.traces.errors import TraceError
from gridai_env.traces.files.formats import OPTIONAL, RawTable, load
from gridai_env.traces.local_time import MINUTES_PER_HOUR
from gridai_env.traces.series import HELD, VALUES, StepGrid, ZoneSeries, step_grid
from gridai_env.traces.synthetic import climatology_hourly

MIN_DAYS_FOR_PROFILE = 14
_CALIBRATED = {
    "price_usd_per_mwh": "price",
    "carbon_average_kg_per_mwh": "carbon",
    "carbon_marginal_kg_per_mwh": "marginal",
    "wetbulb_c": "wetbulb",
    "pv_cf": "pv",
    "wind_cf": "wind",
}
_LOWEST = {"carbon_average_kg_per_mwh": 0.0, "carbon_marginal_kg_per_mwh": 0.0, "pv_cf": 0.0, "wind_cf": 0.0}
_HIGHEST = {"pv_cf": 1.0, "wind_cf": 1.0}
_GAP, _REPEATED, _UNSORTED = 1, 2, 3
_FAULTS = {
    _GAP: ("hour is missing", "add the hour or choose another window"),
    _REPEATED: ("hour appears more than once", "keep one row per zone and hour"),
    _UNSORTED: ("stamp is earlier than the row before it", "sort each zone by utc"),
}


def read_table(path: str | Path) -> TraceTable:
    """Read a trace file; the same unchanged file is read once per process.

    Raises TraceError for a file that cannot be read as one of the forms, FileNotFoundError for one that is not
    there.
    """
    resolved = Path(path).resolve()
    try:
        status = resolved.stat()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such trace file; give a .csv, .csv.gz or .parquet") from None
    return _read(resolved, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=16)
def _read(path: Path, mtime_ns: int, size: int) -> TraceTable:
    raw = load(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return TraceTable(source=str(path), sha256=digest, raw=raw)


@dataclass
class _ZoneHours:
    """One zone on a dense hourly axis: `first` is the hour since 1970, `fault` [n] a code (0 good), values
    [n].

    `by_hour_of_day` keeps the means of `_hour_of_day_mean` once they have been asked for.
    """

    first: int
    fault: np.ndarray
    values: dict[str, np.ndarray]
    by_hour_of_day: dict[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def has_profile(self) -> bool:
        """Whether the good hours are enough for a mean by hour of day."""
        good = _usable(self)
        count = np.bincount(_hours_of_day(self, good), minlength=24)
        return int(good.sum()) >= 24 * MIN_DAYS_FOR_PROFILE and bool(count.all())


@dataclass
class TraceTable:
    """The rows of one file, ready to be cut into episodes."""

    source: str
    sha256: str
    raw: RawTable = field(repr=False)
    _dense: dict[str, _ZoneHours] = field(default_factory=dict, repr=False)

    @property
    def zones(self) -> tuple[str, ...]:
        """Zones that have rows in the file."""
        return self.raw.zones

    def valid_starts(self, zones: Sequence[str], steps: int, dt_h: float) -> np.ndarray:
        """All whole hours from which every zone has `steps` good steps, datetime64[m], ascending (may be
        empty).
        """
        step_grid(np.array(["2000-01-01T00:00"], dtype="datetime64[m]"), steps, dt_h)  # checks steps and dt_h
        need = -(-steps * round(dt_h * MINUTES_PER_HOUR) // MINUTES_PER_HOUR)
        series = [self._zone(zone) for zone in zones]
        first = max(s.first for s in series)
        last = min(s.first + len(s.fault) for s in series)
        if last - first < need:
            return np.empty(0, dtype="datetime64[m]")
        good = np.ones(last - first, dtype=bool)
        for s in series:
            good &= _usable(s)[first - s.first : last - s.first]
        bad_before = np.concatenate([[0], np.cumsum(~good)])
        starts = first + np.flatnonzero(bad_before[need:] == bad_before[:-need])
        return (starts * MINUTES_PER_HOUR).astype("datetime64[m]")

    def window(self, zones: Sequence[str], start_utc: np.ndarray, steps: int, dt_h: float) -> ZoneSeries:
        """The series of B episodes, cut out of the file without any shift.

        Price and carbon are constant inside the hour; with dt < 1 h weather is linear between the centres of
        the hours of the window. Raises TraceError naming file, zone and first offending hour.
        """
        names = tuple(zones)
        if not names or len(set(names)) != len(names):
            raise TraceError(f"{self.source}: zones = {names}: name at least one zone, each once")
        grid = step_grid(np.asarray(start_utc), steps, dt_h)
        last = grid.hours - 1 if grid.held is None else grid.held[:, -1]
        per_zone = [self._cut(zone, grid, np.broadcast_to(last, len(grid.first_hour))) for zone in names]
        arrays = {key: np.stack([cut[key] for cut in per_zone], axis=2) for key in per_zone[0]}

        def lay(key: str, kind: str) -> np.ndarray:
            return grid.hold(arrays[key]) if kind in HELD else grid.interpolate(arrays[key])

        return ZoneSeries(
            zones=names,
            start_utc=np.asarray(start_utc).astype("datetime64[m]"),
            dt_h=dt_h,
            **{name: lay(name, name) for name in VALUES},
            price_climatology_usd_per_mwh=lay("expected price_usd_per_mwh", HELD[0]),
            carbon_average_climatology_kg_per_mwh=lay("expected carbon_average_kg_per_mwh", HELD[1]),
            carbon_marginal_climatology_kg_per_mwh=lay("expected carbon_marginal_kg_per_mwh", HELD[2]),
            pv_cf_climatology=lay("expected pv_cf", "pv_cf"),
            wind_cf_climatology=lay("expected wind_cf", "wind_cf"),
            provenance={zone: self._provenance(zone) for zone in names},
        )

    def _cut(self, zone: str, grid: StepGrid, last: np.ndarray) -> dict[str, np.ndarray]:
        """Values and `expected ...` of one zone, [B, hours]; hours after the last one in use repeat it."""
        series = self._zone(zone)
        first = grid.first_hour.astype(np.int64) // MINUTES_PER_HOUR
        offset = np.minimum(np.arange(grid.hours), last[:, None])
        hour = first[:, None] + offset
        self._refuse_faults(zone, series, hour)
        cut = {name: values[hour - series.first] for name, values in series.values.items()}
        known = climatology_hourly(zone, grid.first_hour, grid.hours) if zone in known_zones() else {}
        at_row = np.arange(len(first))[:, None]
        for name in VALUES:
            own = _CALIBRATED[name]
            if name in series.values and (own not in known or own == "marginal"):
                cut[f"expected {name}"] = _hour_of_day_mean(series, name)[hour % 24]
            elif own == "marginal":
                cut[name] = cut[f"expected {name}"] = np.full(
                    hour.shape, zone_calibration(zone).marginal_kg_per_mwh
                )
            else:
                cut[f"expected {name}"] = known[own][at_row, offset]
                cut.setdefault(name, cut[f"expected {name}"])
        return cut

    def _zone(self, zone: str) -> _ZoneHours:
        if zone not in self._dense:
            self._dense[zone] = self._densify(zone)
        return self._dense[zone]

    def _densify(self, zone: str) -> _ZoneHours:
        if zone not in self.raw.zones:
            raise TraceError(
                f"{self.source}: zone {zone!r} is not in the file; it has {', '.join(self.raw.zones)}"
            )
        lacking = [name for name in OPTIONAL if name not in self.raw.columns]
        if lacking and zone not in known_zones():
            raise TraceError(
                f"{self.source}: zone {zone!r} is not calibrated, so nothing can stand in for {lacking}; "
                f"add these columns or use one of {', '.join(known_zones())}"
            )
        rows = np.flatnonzero(self.raw.zone_index == self.raw.zones.index(zone))
        if not rows.size:
            raise TraceError(
                f"{self.source}: zone {zone!r} has no rows; add its hours or choose another zone"
            )
        minutes = self.raw.utc_minutes[rows]
        if (off := minutes % MINUTES_PER_HOUR != 0).any():
            raise TraceError(
                f"{self.source}: zone {zone!r}, {_stamp(minutes[off][0])} is no whole hour; "
                "average to hours first"
            )
        hour = minutes // MINUTES_PER_HOUR
        first = int(hour.min())
        place = hour - first
        count = np.bincount(place)
        fault = np.where(count == 0, _GAP, np.where(count > 1, _REPEATED, 0))
        backwards = place[1:][np.diff(place) < 0]
        fault[backwards] = np.where(fault[backwards] == 0, _UNSORTED, fault[backwards])
        values = {name: np.full(len(count), np.nan) for name in self.raw.columns}
        for name, column in self.raw.columns.items():
            values[name][place] = column[rows]
        return _ZoneHours(first, fault, values)

    def _refuse_faults(self, zone: str, series: _ZoneHours, hour: np.ndarray) -> None:
        wanted = np.unique(hour)
        end = series.first + len(series.fault)
        outside = wanted[(wanted < series.first) | (wanted >= end)]
        if outside.size:
            covered = f"{_stamp(series.first * 60)} to {_stamp(end * 60)}"
            raise TraceError(
                f"{self.source}: zone {zone!r}, {_stamp(outside[0] * 60)} is outside the file ({covered}); "
                "start inside valid_starts() or use fewer steps"
            )
        fault = series.fault[wanted - series.first]
        if fault.any():
            at = int(np.flatnonzero(fault)[0])
            what, cure = _FAULTS[int(fault[at])]
            raise TraceError(f"{self.source}: zone {zone!r}, {_stamp(wanted[at] * 60)}: {what}; {cure}")
        for name, values in series.values.items():
            bad = ~_plausible(name, values[wanted - series.first])
            if bad.any():
                at = int(np.flatnonzero(bad)[0])
                value = values[wanted[at] - series.first]
                raise TraceError(
                    f"{self.source}: zone {zone!r}, {_stamp(wanted[at] * 60)}: {name} = {value} (allowed: "
                    f"{_LOWEST.get(name, '-inf')} to {_HIGHEST.get(name, 'inf')}, finite); "
                    "correct it or choose another window"
                )

    def _provenance(self, zone: str) -> str:
        raw = self.raw
        own = self._own_climatology(zone)
        if "carbon_marginal_kg_per_mwh" in raw.columns:
            marginal = f"from the file, expected at its {own}"
        else:
            table = zone_calibration(zone)
            marginal = f"constant {table.marginal_kg_per_mwh:g} kg/MWh ({table.marginal_source})"
        stand_in = f"month-hour mean of the {calibration_year()} calibration"
        weather = [f"{name}: {'from the file' if name in raw.columns else stand_in}" for name in OPTIONAL[1:]]
        expected = "calibrated month-hour mean" if zone in known_zones() else own
        return (
            f"{Path(self.source).name} (sha256 {self.sha256[:12]}, {raw.format_name} form); "
            f"average carbon: {raw.carbon_kind}; "
            f"marginal carbon: {marginal}; {'; '.join(weather)}; climatology: {expected}"
        )

    def _own_climatology(self, zone: str) -> str:
        """Return what the climatology of a series is that has no calibration."""
        by_hour = " by UTC hour of day" if self._zone(zone).has_profile else ""
        return f"mean{by_hour} over the whole file, this episode included"


def _stamp(minutes: int) -> str:
    return f"{np.datetime64(int(minutes), 'm')}Z"


def _plausible(name: str, values: np.ndarray) -> np.ndarray:
    return (
        np.isfinite(values) & (values >= _LOWEST.get(name, -np.inf)) & (values <= _HIGHEST.get(name, np.inf))
    )


def _usable(series: _ZoneHours) -> np.ndarray:
    good = series.fault == 0
    for name, values in series.values.items():
        good &= _plausible(name, values)
    return good


def _hour_of_day_mean(series: _ZoneHours, name: str) -> np.ndarray:
    """Mean of the zone's good hours by UTC hour of day, [24]; their overall mean where the file is short."""
    if name not in series.by_hour_of_day:
        good = _usable(series)
        values = series.values[name][good]
        if series.has_profile:
            hour = _hours_of_day(series, good)
            mean = np.bincount(hour, values, 24) / np.bincount(hour, minlength=24)
        else:
            mean = np.full(24, values.mean())
        series.by_hour_of_day[name] = mean
    return series.by_hour_of_day[name]


def _hours_of_day(series: _ZoneHours, good: np.ndarray) -> np.ndarray:
    """UTC hour of day of the good hours."""
    return (series.first + np.flatnonzero(good)) % 24
