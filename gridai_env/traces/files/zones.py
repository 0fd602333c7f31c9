"""Hourly price, carbon and weather files: read by suffix (.parquet, .csv, .csv.gz) and columns, cut into episodes.

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

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from gridai_env.arrays.types import Float, Floats, Int, Ints
from gridai_env.traces.calibration import calibration_year, known_zones, zone_calibration
from gridai_env.traces.errors import TraceError
from gridai_env.traces.files.cells import file_sha256, read_once
from gridai_env.traces.files.formats import OPTIONAL, RawTable, load
from gridai_env.traces.files.zone_hours import ZoneHours, zone_hours
from gridai_env.traces.local_time import MINUTES_PER_HOUR
from gridai_env.traces.series import CLIMATOLOGY_OF, HELD, VALUES, StepGrid, ZoneSeries, step_grid
from gridai_env.traces.synthetic import climatology_hourly

MARGINAL = "carbon_marginal_kg_per_mwh"
# What the calibration calls a column.
CALIBRATED = {
    "price_usd_per_mwh": "price",
    "carbon_average_kg_per_mwh": "carbon",
    MARGINAL: "marginal",
    "wetbulb_c": "wetbulb",
    "pv_cf": "pv",
    "wind_cf": "wind",
}
Cut = dict[str, Float[Floats, "B hours"]]  # by column


@read_once("trace file; give a .csv, .csv.gz or .parquet")
def read_table(path: Path) -> TraceTable:
    """Read a trace file; the same unchanged file is read once per process.

    Raises TraceError for a file that cannot be read as one of the forms, FileNotFoundError for one that is not
    there.
    """
    return TraceTable(source=str(path), sha256=file_sha256(path), raw=load(path))


@dataclass
class TraceTable:
    """The rows of one file, ready to be cut into episodes."""

    source: str
    sha256: str
    raw: RawTable = field(repr=False)
    _dense: dict[str, ZoneHours] = field(default_factory=dict, repr=False)

    @property
    def zones(self) -> tuple[str, ...]:
        """Zones that have rows in the file."""
        return self.raw.zones

    def _zone(self, zone: str) -> ZoneHours:
        if zone not in self._dense:
            self._dense[zone] = zone_hours(self.raw, self.source, zone)
        return self._dense[zone]

    def hours(self, zone: str) -> tuple[int, dict[str, Float[Floats, " n"]]]:
        """Return first hour (since 1970 UTC) and columns of a zone by hour, one after the other, NaN where bad."""
        series = self._zone(zone)
        return series.first, {
            name: np.where(series.usable, column, np.nan) for name, column in series.values.items()
        }

    def valid_starts(self, zones: Sequence[str], steps: int, dt_h: float) -> Shaped[np.ndarray, " n"]:
        """Return all whole hours from which every zone has `steps` good steps: datetime64[m], ascending.

        There may be none.
        """
        step_grid(np.array(["2000-01-01T00:00"], dtype="datetime64[m]"), steps, dt_h)  # checks steps and dt_h
        need = -(-steps * round(dt_h * MINUTES_PER_HOUR) // MINUTES_PER_HOUR)
        series = [self._zone(zone) for zone in zones]
        first, last = max(s.first for s in series), min(s.end for s in series)
        if last - first < need:
            return np.empty(0, dtype="datetime64[m]")

        good = np.ones(last - first, dtype=bool)
        for s in series:
            good &= s.usable[first - s.first : last - s.first]

        # A window is good where as many bad hours lie before its end as before its start.
        bad_before = np.concatenate([[0], np.cumsum(~good)])
        starts = first + np.flatnonzero(bad_before[need:] == bad_before[:-need])
        return (starts * MINUTES_PER_HOUR).astype("datetime64[m]")

    def window(
        self, zones: Sequence[str], start_utc: Shaped[np.ndarray, " B"], steps: int, dt_h: float
    ) -> ZoneSeries:
        """Return the series of B episodes, cut out of the file without any shift.

        Price and carbon are constant inside the hour; with dt < 1 h weather is linear between the centres of
        the hours of the window. Raises TraceError naming file, zone and first offending hour.
        """
        names = tuple(zones)
        if not names or len(set(names)) != len(names):
            raise TraceError(f"{self.source}: zones = {names}: name at least one zone, each once")
        start = np.asarray(start_utc)
        grid = step_grid(start, steps, dt_h)
        # The last hour of the grid may be unused, so that the file need not have it.
        last = grid.hours - 1 if grid.held is None else grid.held[:, -1]
        cuts = [self._cut(zone, grid, np.broadcast_to(last, len(grid.first_hour))) for zone in names]

        def on_steps(name: str, part: int) -> Float[Floats, "B L Z"]:
            hourly = np.stack([cut[part][name] for cut in cuts], axis=2)
            return grid.hold(hourly) if name in HELD else grid.interpolate(hourly)

        return ZoneSeries(
            zones=names,
            start_utc=start.astype("datetime64[m]"),
            dt_h=dt_h,
            **{name: on_steps(name, 0) for name in VALUES},
            **{expected: on_steps(name, 1) for name, expected in CLIMATOLOGY_OF.items()},
            provenance={zone: self._provenance(zone) for zone in names},
        )

    def _cut(self, zone: str, grid: StepGrid, last: Int[Ints, " B"]) -> tuple[Cut, Cut]:
        """Return the values of one zone and their climatology; hours after the last one in use repeat it."""
        series = self._zone(zone)
        first = grid.first_hour.astype(np.int64) // MINUTES_PER_HOUR
        offset = np.minimum(np.arange(grid.hours), last[:, None])
        hour = first[:, None] + offset
        series.refuse_faults(hour)

        values = {name: column[hour - series.first] for name, column in series.values.items()}
        known = climatology_hourly(zone, grid.first_hour, grid.hours) if zone in known_zones() else {}
        at_row = np.arange(len(first))[:, None]
        expected: Cut = {}
        for name in VALUES:
            own = CALIBRATED[name]
            # No calibration knows a file's marginal carbon: it is expected at its own mean.
            if name in series.values and (own not in known or name == MARGINAL):
                expected[name] = series.hour_of_day_mean(name)[hour % 24]
            elif name == MARGINAL:
                expected[name] = np.full(hour.shape, zone_calibration(zone).marginal_kg_per_mwh)
            else:
                expected[name] = known[own][at_row, offset]
        return expected | values, expected

    def _provenance(self, zone: str) -> str:
        """Return in words where each series comes from."""
        raw = self.raw
        by_hour = " by UTC hour of day" if self._zone(zone).has_profile else ""
        own = f"mean{by_hour} over the whole file, this episode included"
        if MARGINAL in raw.columns:
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
